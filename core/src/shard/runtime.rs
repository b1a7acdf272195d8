//! The monoio runtime of a shard's thread: io_uring where it can be had, else epoll.

use crate::config::{Config, Driver};
use io_uring::IoUring;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::io;

/// A runtime and why it is this one.
pub(crate) struct Built {
    pub(crate) runtime: FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>,
    pub(crate) reason: String,
}

/// Builds the runtime of the calling thread. `driver` is not [`Driver::Auto`]: the engine decides once for all shards.
pub(crate) fn build(driver: Driver, config: &Config) -> io::Result<Built> {
    match driver {
        Driver::Epoll => {
            let builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(config.driver_entries);
            Ok(Built { runtime: builder.enable_timer().build()?.into(), reason: String::new() })
        }
        Driver::Uring | Driver::Auto => match uring(config, true) {
            Ok(runtime) => Ok(Built { runtime, reason: "single issuer, deferred task work".to_owned() }),
            // Kernels before 6.1 don't know the flags.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let reason = "without deferred task work: the kernel is older than 6.1".to_owned();
                Ok(Built { runtime: uring(config, false)?, reason })
            }
            Err(error) => Err(error),
        },
    }
}

fn uring(
    config: &Config,
    deferred: bool,
) -> io::Result<FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>> {
    let mut ring = IoUring::builder();
    ring.setup_cqsize(config.uring_completion_entries);
    if deferred {
        ring.setup_single_issuer().setup_defer_taskrun();
    }
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(config.driver_entries);
    Ok(builder.uring_builder(ring).enable_timer().build()?.into())
}
