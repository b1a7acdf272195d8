//! Why a request is refused by the engine itself.

use crate::reasons::reasons;

reasons! {
    /// Why the engine refused a request, which the app then has no say in.
    RequestRefused {
        /// A line of the head does not end in CR LF.
        LineEnd = "line_end",
        /// The first line is no request line.
        RequestLine = "request_line",
        /// The target is no path, no `http` URL and no `*`.
        Target = "target",
        /// Not HTTP/1.0 or 1.1.
        Version = "version",
        /// A line that is no header, or a character that none may have.
        Header = "header",
        /// No `Host`, or more than one.
        Host = "host",
        /// A `Content-Length` that is no number, or two that differ.
        ContentLength = "content_length",
        /// Both `Content-Length` and `Transfer-Encoding`: perhaps an attempt to smuggle a request past a proxy.
        BothLengths = "both_lengths",
        /// A body without `Content-Length`.
        LengthRequired = "length_required",
        /// An `Expect` other than `100-continue`.
        Expectation = "expectation",
        /// More than `target_max_bytes`.
        TargetTooLong = "target_too_long",
        /// More than `head_max_bytes`.
        HeadTooLarge = "head_too_large",
        /// More than `headers_max`.
        TooManyHeaders = "too_many_headers",
        /// More than `body_max_bytes`.
        BodyTooLarge = "body_too_large",
        /// The head took longer than `head_deadline_ms`.
        HeadDeadline = "head_deadline",
        /// The body took longer than `body_deadline_ms`.
        BodyDeadline = "body_deadline",
        /// The shard kept `input_shard_max_bytes` of incomplete input.
        InputBudget = "input_budget",
        /// Its client, who speaks through a trusted proxy, had `http_connections_per_ip_max` requests under way.
        Client = "client",
        /// A WebSocket is served there, and none was asked for.
        NotWebSocket = "not_websocket",
        /// An upgrade that is no GET of HTTP/1.1.
        UpgradeMethod = "upgrade_method",
        /// An upgrade without `Sec-WebSocket-Version: 13`.
        UpgradeVersion = "upgrade_version",
        /// An upgrade without a proper `Sec-WebSocket-Key`.
        UpgradeKey = "upgrade_key",
        /// An upgrade while the engine drains.
        Draining = "draining",
    }
}

impl RequestRefused {
    /// Its status. That of an upgrade without any version is 400 nevertheless.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            RequestRefused::LineEnd
            | RequestRefused::RequestLine
            | RequestRefused::Target
            | RequestRefused::Header
            | RequestRefused::Host
            | RequestRefused::ContentLength
            | RequestRefused::BothLengths
            | RequestRefused::UpgradeMethod
            | RequestRefused::UpgradeKey => 400,
            RequestRefused::HeadDeadline | RequestRefused::BodyDeadline => 408,
            RequestRefused::LengthRequired => 411,
            RequestRefused::BodyTooLarge => 413,
            RequestRefused::TargetTooLong => 414,
            RequestRefused::Expectation => 417,
            RequestRefused::NotWebSocket | RequestRefused::UpgradeVersion => 426,
            RequestRefused::HeadTooLarge | RequestRefused::TooManyHeaders => 431,
            RequestRefused::InputBudget | RequestRefused::Client | RequestRefused::Draining => 503,
            RequestRefused::Version => 505,
        }
    }
}
