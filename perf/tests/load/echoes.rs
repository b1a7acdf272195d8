//! Goal: what an echo server says back is counted right, and one that drops, doubles, swaps or changes messages is found out.
//! Method: a server of a thread for each connection that does one of these at every tenth message.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tungstenite::{Message, WebSocket};

use crate::schema;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Double,
    /// Two neighbours change places.
    Swap,
    /// Other letters, of the same length.
    Change,
    HangUp,
    /// Says nothing for a second, once.
    Stall,
}

const STALL: Duration = Duration::from_secs(1);

fn serve(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                if let Ok(socket) = tungstenite::accept(stream) {
                    echo(socket, fault);
                }
            });
        }
    });
    addr
}

fn echo(mut socket: WebSocket<TcpStream>, fault: Fault) {
    let mut held = None;
    for number in 1u32.. {
        let Ok(Message::Text(text)) = socket.read() else { return };
        let strikes = number.is_multiple_of(10);
        let replies = match fault {
            Fault::Drop if strikes => vec![],
            Fault::Double if strikes => vec![text.clone(), text],
            Fault::Swap if strikes => {
                held = Some(text);
                vec![]
            }
            Fault::Swap => std::iter::once(text).chain(held.take()).collect(),
            Fault::Change if strikes => vec![text.to_uppercase().into()],
            Fault::HangUp if strikes => return,
            Fault::Stall if number == 10 => {
                std::thread::sleep(STALL);
                vec![text]
            }
            _ => vec![text],
        };
        for reply in replies {
            if socket.send(Message::Text(reply)).is_err() {
                return;
            }
        }
    }
}

fn run(fault: Fault, more: &[&str], code: i32) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args(["echo", "--url", &format!("http://{}", serve(fault)), "--json", json.to_str().unwrap()])
        .args(["--connections", "6"])
        .args(more)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{fault:?} {more:?}: {text}");
    let report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    schema::check(&report);
    report
}

/// All connections looked at by content, or all but the first only counted.
const CHECKED: [&str; 6] = ["--rate", "600", "--depth", "8", "--checked-every", "1"];
const COUNTED: [&str; 6] = ["--rate", "600", "--depth", "8", "--checked-every", "1000"];

#[test]
fn every_message_comes_back_in_the_open_loop() {
    for how in [CHECKED, COUNTED] {
        for size in ["24", "128", "70000"] {
            let report =
                run(Fault::None, &[&how[..], &["--seconds", "0.5", "--message-bytes", size]].concat(), 0);
            assert_eq!(
                (&report["result"]["sent"], &report["result"]["answered"]),
                (&300.into(), &300.into())
            );
            assert_eq!(report["latencies"]["echo"]["count"], 300);
            assert_eq!(report["figures"]["p99"], report["figures"]["echo.p99"]);
        }
    }
}

#[test]
fn a_closed_loop_tells_its_rate_and_no_latency() {
    for depth in ["1", "16"] {
        let report = run(Fault::None, &["--seconds", "0.5", "--depth", depth, "--checked-every", "3"], 0);
        let result = &report["result"];
        assert_eq!(result["sent"], result["answered"]);
        assert!(result["answered"].as_u64() > Some(60), "{result}");
        assert_eq!((&result["echo_us"], &report["main_latency"]), (&Value::Null, &Value::Null));
        assert!(report["figures"]["client_cpu_us_per_op"]["value"].is_number());
    }
}

#[test]
fn broken_echoes_are_found() {
    let found = |fault, how: [&str; 6], what: &str| {
        let report = run(fault, &[&how[..], &["--seconds", "0.5", "--settle-seconds", "1"]].concat(), 1);
        assert!(report["verdict"][what].as_u64() > Some(0), "{fault:?} {how:?}: {}", report["verdict"]);
    };
    found(Fault::Drop, CHECKED, "lost");
    found(Fault::Drop, COUNTED, "lost");
    found(Fault::Double, CHECKED, "doubled");
    found(Fault::Double, COUNTED, "doubled");
    found(Fault::Swap, CHECKED, "out_of_order");
    found(Fault::Change, CHECKED, "phantom");
    found(Fault::HangUp, COUNTED, "lost");
}

#[test]
fn a_stall_counts_for_every_message_that_had_to_wait_behind_it() {
    let report = run(Fault::Stall, &[&CHECKED[..], &["--seconds", "2"]].concat(), 0);
    // Each connection stalls for one second of two: what became due in the first half of it waits half a second or more, a
    // quarter of all. A tool that waits with the server would have seen one slow message on each connection, 6 of 1,200.
    assert_eq!(report["latencies"]["echo"]["count"], 1200);
    assert!(report["figures"]["p90"]["value"].as_f64() >= Some(500_000.0), "{}", report["latencies"]["echo"]);
}
