//! What a peer may do wrong on a WebSocket.

use crate::reasons::reasons;

reasons! {
    /// A rule of RFC 6455, or a limit, that a peer broke.
    Breach {
        /// Reserved bits are set, and no extension was agreed on.
        ReservedBits = "reserved_bits",
        /// An opcode that nobody has defined.
        Opcode = "opcode",
        /// A frame without a mask.
        Unmasked = "unmasked",
        /// A length that is not in its shortest form.
        Length = "length",
        /// A control frame in fragments, or with more than 125 bytes.
        ControlFrame = "control_frame",
        /// A message begins while another is incomplete.
        Interleaved = "interleaved",
        /// A fragment continues nothing.
        Continuation = "continuation",
        /// A close frame with one byte, or with a code that must not be sent.
        CloseFrame = "close_frame",
        /// A binary message where only text is taken.
        Binary = "binary",
        /// A text, or the words of a close frame, that is not UTF-8.
        Utf8 = "utf8",
        /// More than `frame_max_bytes`.
        FrameTooBig = "frame_too_big",
        /// More than `message_max_bytes`.
        MessageTooBig = "message_too_big",
        /// More than `fragments_per_message_max`.
        FragmentFlood = "fragment_flood",
        /// More than `control_frames_per_second_max`.
        ControlFlood = "control_flood",
    }
}

impl Breach {
    /// The code that the connection is closed with.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Breach::ReservedBits
            | Breach::Opcode
            | Breach::Unmasked
            | Breach::Length
            | Breach::ControlFrame
            | Breach::Interleaved
            | Breach::Continuation
            | Breach::CloseFrame => 1002,
            Breach::Binary => 1003,
            Breach::Utf8 => 1007,
            Breach::FragmentFlood | Breach::ControlFlood => 1008,
            Breach::FrameTooBig | Breach::MessageTooBig => 1009,
        }
    }

    /// What the peer is told with the code.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Breach::ReservedBits => "reserved bits are set",
            Breach::Opcode => "unknown opcode",
            Breach::Unmasked => "a frame is not masked",
            Breach::Length => "a length is not in its shortest form",
            Breach::ControlFrame => "a control frame is in fragments or too long",
            Breach::Interleaved => "a message is incomplete",
            Breach::Continuation => "nothing to continue",
            Breach::CloseFrame => "invalid close frame",
            Breach::Binary => "text only",
            Breach::Utf8 => "not UTF-8",
            Breach::FrameTooBig | Breach::MessageTooBig => "too big",
            Breach::FragmentFlood => "too many fragments",
            Breach::ControlFlood => "too many control frames",
        }
    }
}
