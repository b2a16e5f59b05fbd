//! Listening for peers, patiently: a port may still be held by what ran before, a name may not resolve yet.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::error::StartError;

/// The pause before the first retry; it doubles from one to the next.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Listens on the builder's address, and tells under which address others reach it.
pub(crate) async fn listen(options: &Builder) -> Result<(TcpListener, String), StartError> {
    let addr = &options.listen_addr;
    let deadline = Instant::now() + options.bind_timeout;
    let mut pause = PAUSE_MIN;
    let mut attempts: u32 = 0;
    let listener = loop {
        attempts = attempts.saturating_add(1);
        let error = match TcpListener::bind(addr).await {
            Ok(listener) => break listener,
            Err(error) => error,
        };
        let now = Instant::now();
        if error.kind() == io::ErrorKind::PermissionDenied || now >= deadline {
            return Err(StartError::Bind { addr: addr.clone(), attempts, cause: error.to_string() });
        }
        tracing::warn!(%addr, attempts, %error, "cannot listen yet; trying again");
        tokio::time::sleep(pause.min(deadline.saturating_duration_since(now))).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    };
    if let Some(advertised) = &options.advertise_addr {
        return Ok((listener, advertised.clone()));
    }
    // The port may have been the system's choice; the host stays as it was given, for it may be a name.
    let bound = listener.local_addr().map_err(|error| StartError::Bind {
        addr: addr.clone(),
        attempts,
        cause: error.to_string(),
    })?;
    let host = addr.rsplit_once(':').map_or(addr.as_str(), |(host, _)| host);
    Ok((listener, format!("{host}:{}", bound.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(addr: &str) -> Builder {
        Builder::new(1, "data".into(), addr.to_owned())
    }

    #[tokio::test]
    async fn row_47_a_port_that_is_freed_in_time_is_had_in_the_end() {
        let before = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = before.local_addr().unwrap().to_string();
        let options = builder(&addr).bind_timeout(Duration::from_secs(60));
        let listening = tokio::spawn(async move { listen(&options).await });
        // One connection is taken in the meantime, so the port was held while the other one tried.
        let client = tokio::net::TcpStream::connect(&addr);
        let (_accepted, _client) = tokio::join!(before.accept(), client);
        drop(before);
        let (_listener, advertised) = listening.await.unwrap().unwrap();
        assert_eq!(advertised, addr);
    }

    #[tokio::test]
    async fn row_47_a_port_that_stays_in_use_is_an_error_after_bounded_attempts() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = holder.local_addr().unwrap().to_string();
        let error = listen(&builder(&addr).bind_timeout(Duration::from_millis(60))).await.unwrap_err();
        let StartError::Bind { addr: refused, attempts, .. } = &error else { panic!("{error}") };
        assert!(*refused == addr && *attempts >= 2, "{error}");
    }

    #[tokio::test]
    async fn row_47_a_name_that_does_not_resolve_is_retried_and_then_an_error() {
        let options = builder("no-such-host.invalid:7001").bind_timeout(Duration::from_millis(60));
        let error = listen(&options).await.unwrap_err();
        assert!(matches!(&error, StartError::Bind { attempts, .. } if *attempts >= 2), "{error}");
    }

    #[tokio::test]
    async fn the_port_that_the_system_chose_is_advertised() {
        let (listener, advertised) = listen(&builder("localhost:0")).await.unwrap();
        assert_eq!(advertised, format!("localhost:{}", listener.local_addr().unwrap().port()));
        let (_, advertised) = listen(&builder("127.0.0.1:0").advertise_addr("node1:7001")).await.unwrap();
        assert_eq!(advertised, "node1:7001");
    }
}
