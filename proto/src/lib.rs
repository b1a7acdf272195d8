//! The wire between the parts: gRPC services and queue payloads, generated from proto/proto.
#![forbid(unsafe_code)]

pub mod downstream;
pub mod topics;

macro_rules! package {
    ($name:ident, $path:literal) => {
        /// Generated from the .proto file of this name.
        pub mod $name {
            pub mod v1 {
                #![allow(unreachable_pub, missing_docs, clippy::all)]
                tonic::include_proto!($path);
            }
        }
    };
}

package!(common, "gochat.common.v1");
package!(repo, "gochat.repo.v1");
package!(logic, "gochat.logic.v1");
package!(queue, "gochat.queue.v1");
package!(task, "gochat.task.v1");
package!(admin, "gochat.admin.v1");
