//! What the library's errors mean to a caller.

use std::error::Error as StdError;
use std::fmt;

use super::resolver::ForbiddenAddress;
use super::{Phase, TransportError};

/// An error of the library by the phase it happened in. Addresses are taken out: they may be signed.
pub(super) fn classified(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let (mut forbidden, mut tls, mut not_tls, mut not_http) = (None, false, false, false);
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<ForbiddenAddress>() {
            forbidden = Some(found.clone());
        }
        let rustls = current.downcast_ref::<rustls::Error>();
        tls |= rustls.is_some();
        not_tls |=
            matches!(rustls, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)));
        // A TLS server answers a plain request with an alert, which hyper takes for a version it does not know.
        not_http |= current.to_string() == "invalid HTTP version parsed";
        // An `io::Error` gives as its source not the error it carries but that one's source.
        let carried = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match carried {
            Some(carried) => Some(carried),
            None => current.source(),
        };
    }
    let phase = match forbidden {
        Some(forbidden) => return TransportError::new(Phase::Forbidden, forbidden),
        None if not_tls => {
            return TransportError::new(Phase::Tls, "the server does not speak TLS; is it plain HTTP?");
        }
        None if not_http => {
            return TransportError::new(Phase::Tls, "the server does not speak plain HTTP; is it TLS?");
        }
        None if error.is_dns() => Phase::Resolve,
        None if tls => Phase::Tls,
        None if error.is_connect() => Phase::Connect,
        None if error.is_builder() => Phase::Setup,
        None => Phase::Exchange,
    };
    TransportError::new(phase, Stripped(error))
}

/// The library's error without its outer layers, which say no more than that a request failed.
#[derive(Debug)]
struct Stripped(reqwest::Error);

impl Stripped {
    fn core(&self) -> &(dyn StdError + 'static) {
        let mut core: &(dyn StdError + 'static) = &self.0;
        while core.is::<reqwest::Error>() || core.to_string().starts_with("client error (") {
            let Some(cause) = core.source() else { break };
            core = cause;
        }
        core
    }
}

impl fmt::Display for Stripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.core(), f)
    }
}

impl StdError for Stripped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.core().source()
    }
}
