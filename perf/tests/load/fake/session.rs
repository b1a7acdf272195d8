//! One WebSocket connection of the fake: what it answers, and where its fault strikes.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

use super::Fault;
use super::world::{Stored, World};

/// The fault strikes at messages 5, 10, 15, …
const EVERY: u64 = 5;

pub(super) fn frame(kind: &str, data: Value) -> Value {
    json!({"type": kind, "data": data, "timestamp": 1})
}

pub(super) struct Session<'a> {
    pub(super) user: u64,
    pub(super) fault: Fault,
    pub(super) world: &'a Mutex<World>,
    pub(super) mail: Sender<Value>,
    /// After a `retry`: the message that must come back first, for each conversation.
    pub(super) refused: HashMap<String, String>,
}

impl Session<'_> {
    pub(super) fn run(
        &mut self,
        mut socket: WebSocket<TcpStream>,
        inbox: &Receiver<Value>,
        down: &AtomicBool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        while !down.load(Ordering::SeqCst) {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let request: Value = serde_json::from_str(text.as_str())?;
                    if !self.handle(&request) {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            for frame in inbox.try_iter() {
                if frame.is_null() {
                    let code = 1013.into();
                    socket.close(Some(CloseFrame { code, reason: "too slow".into() }))?;
                    socket.flush()?;
                    return Ok(());
                }
                socket.write(Message::text(frame.to_string()))?;
            }
            socket.flush()?;
        }
        Ok(())
    }

    fn tell(&self, frame: Value) {
        // The receiver lives as long as this session.
        let _ = self.mail.send(frame);
    }

    /// False: hang up.
    fn handle(&mut self, request: &Value) -> bool {
        let data = &request["data"];
        match request["type"].as_str() {
            Some("send-message") => return self.on_send(data),
            Some("heads") => self.on_heads(data),
            Some("sync") => self.on_sync(data, &request["id"]),
            Some("ping") => self.tell(frame("pong", json!({}))),
            _ => self.tell(frame(
                "error",
                json!({"code": 1000, "name": "invalid-input", "message": "unknown type"}),
            )),
        }
        true
    }

    fn on_heads(&mut self, data: &Value) {
        let world = self.world.lock().unwrap();
        let mut changed = vec![json!({"conversationId": "world", "lastSeq": 7})];
        let mut pages = Vec::new();
        for (conversation, have) in data["conversations"].as_object().unwrap() {
            let (have, last) = (have.as_u64().unwrap(), world.last_seq(conversation));
            if conversation != "world" && last > have {
                changed.push(json!({"conversationId": conversation, "lastSeq": last}));
                if let Some(limit) = data["pageLimit"].as_u64() {
                    let (messages, more) = world.page(conversation, have, limit as usize);
                    pages.push(json!({"conversationId": conversation, "messages": messages, "hasMore": more, "epoch": 1}));
                }
            }
        }
        self.tell(frame("heads", json!({"changed": changed, "epoch": 1})));
        pages.into_iter().for_each(|page| self.tell(frame("sync-page", page)));
    }

    fn on_sync(&mut self, data: &Value, id: &Value) {
        let conversation = data["conversationId"].as_str().unwrap();
        let limit = data["limit"].as_u64().unwrap().min(3) as usize;
        let world = self.world.lock().unwrap();
        let (mut messages, more) = world.page(conversation, data["afterSeq"].as_u64().unwrap(), limit);
        if self.fault == Fault::OtherOrderForOne && self.user.is_multiple_of(2) && messages.len() > 1 {
            let (first, second) = (messages[0]["seqId"].clone(), messages[1]["seqId"].clone());
            (messages[0]["seqId"], messages[1]["seqId"]) = (second, first);
            messages.swap(0, 1);
        }
        let mut page = frame(
            "sync-page",
            json!({"conversationId": conversation, "messages": messages, "hasMore": more, "epoch": 1}),
        );
        if !id.is_null() {
            page["id"] = id.clone();
        }
        self.tell(page);
    }

    fn ack(&self, client_msg_id: &str, status: &str, more: Value) {
        let mut data = json!({"tempMessageId": client_msg_id, "status": status});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.tell(frame("message-ack", data));
    }

    fn on_send(&mut self, data: &Value) -> bool {
        let text = |key: &str| data[key].as_str().unwrap().to_owned();
        let (conversation, client_msg_id) = (text("conversationId"), text("clientMsgId"));
        let world = self.world;
        let mut world = world.lock().unwrap();
        let messages = world.conversations.entry(conversation.clone()).or_default();
        if let Some(known) = messages.iter().find(|known| known.client_msg_id == client_msg_id) {
            let id = if self.fault == Fault::NewIdAtResend { known.id + 500_000 } else { known.id };
            self.ack(&client_msg_id, "stored", json!({"messageId": id.to_string(), "seqId": known.seq}));
            return true;
        }
        if world.never_acked.contains(&client_msg_id) {
            return true;
        }
        if self.refused.get(&conversation).is_some_and(|first| *first != client_msg_id) {
            self.ack(&client_msg_id, "retry", json!({"code": 1013, "retryAfterMs": 20}));
            return true;
        }
        world.messages += 1;
        let strikes = world.messages.is_multiple_of(EVERY);
        if strikes && self.fault == Fault::Retry && !self.refused.contains_key(&conversation) {
            self.ack(&client_msg_id, "retry", json!({"code": 1013, "retryAfterMs": 20}));
            self.refused.insert(conversation, client_msg_id);
            return true;
        }
        self.refused.remove(&conversation);
        let message = Stored { seq: 0, id: 0, sender: self.user, client_msg_id, content: text("content") };
        let fault = if strikes { self.fault } else { Fault::None };
        self.store_and_tell(&mut world, &conversation, message, fault)
    }

    fn store_and_tell(
        &self,
        world: &mut World,
        conversation: &str,
        mut message: Stored,
        fault: Fault,
    ) -> bool {
        let client_msg_id = message.client_msg_id.clone();
        match fault {
            Fault::Reject => {
                self.ack(&client_msg_id, "rejected", json!({"code": 1002, "name": "permission-denied"}));
                return true;
            }
            Fault::ForgetAccepted => {
                // A place that it never gets.
                self.ack(&client_msg_id, "accepted", json!({}));
                world.ids += 1;
                let id = world.ids.to_string();
                self.ack(
                    &client_msg_id,
                    "stored",
                    json!({"messageId": id, "seqId": world.last_seq(conversation) + 1}),
                );
                return true;
            }
            Fault::SwapOrder if !world.held.contains_key(conversation) => {
                self.ack(&client_msg_id, "accepted", json!({}));
                world.held.insert(conversation.to_owned(), message);
                return true;
            }
            Fault::ChangeContent => message.content.push('!'),
            Fault::MakeUp => {
                let made_up = Stored { client_msg_id: "made-up".into(), ..message.clone() };
                let stored = world.store(conversation, made_up, 0);
                self.deliver(world, conversation, &stored, Fault::None);
            }
            Fault::NeverAck => {
                world.never_acked.insert(client_msg_id);
                return true;
            }
            _ => {}
        }
        if fault != Fault::DropAcceptedAck {
            self.ack(&client_msg_id, "accepted", json!({}));
        }
        let held = world.held.get(conversation).filter(|held| held.sender == self.user).cloned();
        let stored = world.store(conversation, message, u64::from(fault == Fault::SkipSeq));
        if held.as_ref().is_some_and(|held| held.client_msg_id != client_msg_id) {
            world.held.remove(conversation);
        }
        if fault == Fault::StoreTwice {
            let again = world.store(conversation, stored.clone(), 0);
            self.deliver(world, conversation, &again, Fault::None);
        }
        let seq = if fault == Fault::AckOtherSeq { stored.seq + 100 } else { stored.seq };
        if !matches!(fault, Fault::DropStoredAck | Fault::NewIdAtResend) {
            self.ack(&client_msg_id, "stored", json!({"messageId": stored.id.to_string(), "seqId": seq}));
        }
        if fault == Fault::NewIdAtResend {
            self.ack(
                &client_msg_id,
                "stored",
                json!({"messageId": (stored.id + 500_000).to_string(), "seqId": seq}),
            );
            self.ack(&client_msg_id, "stored", json!({"messageId": stored.id.to_string(), "seqId": seq}));
        }
        if fault == Fault::ForgetStored {
            world.conversations.get_mut(conversation).unwrap().pop();
        } else {
            self.deliver(world, conversation, &stored, fault);
        }
        if let Some(held) = held.filter(|held| held.client_msg_id != client_msg_id) {
            let late = world.store(conversation, held, 0);
            let id = late.id.to_string();
            self.ack(&late.client_msg_id, "stored", json!({"messageId": id, "seqId": late.seq}));
            self.deliver(world, conversation, &late, Fault::None);
        }
        fault != Fault::Disconnect
    }

    /// To every session of the users that the conversation's name lists: `single_{lo}_{hi}`, `group_{a}_{b}_{c}`.
    fn deliver(&self, world: &mut World, conversation: &str, message: &Stored, fault: Fault) {
        let live = frame("new-message", message.json(conversation));
        for user in conversation.split('_').skip(1).map(|user| user.parse::<u64>().unwrap()) {
            let is_receiver = user != self.user;
            if matches!(fault, Fault::Gap | Fault::TooSlow) && is_receiver {
                let seq = message.seq;
                let gap = json!({"conversationId": conversation, "fromSeq": seq, "toSeq": seq});
                let told = if fault == Fault::Gap { frame("gap", gap) } else { Value::Null };
                for (_, mail) in world.online.get(&user).into_iter().flatten() {
                    let _ = mail.send(told.clone());
                }
                continue;
            }
            if fault == Fault::DropDelivery && is_receiver {
                continue;
            }
            let waiting = world.delayed.remove(&user);
            if fault == Fault::DelayDelivery && is_receiver {
                world.delayed.insert(user, live.clone());
                continue;
            }
            for (_, mail) in world.online.get(&user).into_iter().flatten() {
                let _ = mail.send(live.clone());
                if fault == Fault::DoubleDelivery {
                    let _ = mail.send(live.clone());
                }
                if let Some(waiting) = &waiting {
                    let _ = mail.send(waiting.clone());
                }
            }
        }
    }
}
