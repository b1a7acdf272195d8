//! A whole request, as the app sees it: borrowed from the connection's buffer.

use std::net::{IpAddr, SocketAddr};

/// A whole request. Header names are compared without case; values that are not UTF-8 are hidden.
#[derive(Debug)]
pub struct Request<'a> {
    /// Method, as sent (`GET`).
    pub method: &'a str,
    /// Path without query, not percent-decoded (`/ws`).
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// The body; empty when there is none.
    pub body: &'a [u8],
    /// Address of the other end, which may be a proxy.
    pub peer: SocketAddr,
    /// Address of the client: as a trusted proxy tells it ([`crate::Config::trusted_proxies`]), else that of the other
    /// end. An IPv4 address is never one that is mapped to IPv6.
    pub client_ip: IpAddr,
    pub(crate) http_1_1: bool,
    pub(crate) headers: &'a [httparse::Header<'a>],
}

impl<'a> Request<'a> {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// All headers of this name, in order.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let headers = self.headers.iter();
        headers
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .filter_map(|header| std::str::from_utf8(header.value).ok())
    }

    /// Whether a header of this name has a value that is not UTF-8, which [`Request::headers`] hides.
    #[must_use]
    pub fn hides(&self, name: &str) -> bool {
        let mut named = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.any(|header| std::str::from_utf8(header.value).is_err())
    }

    /// Whether a comma-separated header contains `token`, compared without case.
    #[must_use]
    pub fn header_has_token(&self, name: &str, token: &str) -> bool {
        self.headers(name).flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
    }

    /// Whether the client asks for a WebSocket (RFC 6455, 4.2.1). The details are checked when the app upgrades.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.header_has_token("upgrade", "websocket") && self.header_has_token("connection", "upgrade")
    }
}
