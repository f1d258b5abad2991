//! Start-up and authentication of a Postgres connection: trust, clear text, MD5, SCRAM-SHA-256, in TLS bound to the channel.

use super::{
    PgError,
    connection::Target,
    frames::{FrameReader, server_error},
    transport::Outgoing,
};
use bytes::BytesMut;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::frontend,
};

/// Session settings that fix the text form of values. The replication stream and `COPY` print values by them, so both
/// must have the same, whatever the server's or the role's defaults are.
const SESSION: [(&str, &str); 11] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmlbinary", "base64"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// What a login knows about the connection it is made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Channel {
    Plain,
    /// With what the login can be bound to, if the server's certificate allows that.
    Encrypted(Option<Vec<u8>>),
}

/// Sends the start-up message and answers the server until it is ready for a query.
pub(super) async fn log_in(
    target: &Target,
    replication: bool,
    channel: Channel,
    (reader, writer): (&mut FrameReader, &mut Outgoing),
) -> Result<(), PgError> {
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", target.database.as_str()),
        ("application_name", target.application_name.as_str()),
    ];
    parameters.extend(SESSION);
    if replication {
        parameters.push(("replication", "database"));
    }
    let mut out = BytesMut::new();
    frontend::startup_message(parameters, &mut out)?;
    writer.write_all(&out).await?;
    let mut scram = None;
    loop {
        let frame = reader.next().await?;
        out.clear();
        match frame.tag {
            b'R' => answer(target, &channel, frame.body, &mut scram, &mut out)?,
            b'E' => return Err(PgError::Server(Box::new(server_error(frame.body)))),
            b'Z' => return Ok(()),
            // ParameterStatus, BackendKeyData, notices.
            _ => {}
        }
        if !out.is_empty() {
            writer.write_all(&out).await?;
        }
    }
}

/// Answers one authentication request (manual, "Message Formats", `Authentication…`).
fn answer(
    target: &Target,
    channel: &Channel,
    body: &[u8],
    scram: &mut Option<ScramSha256>,
    out: &mut BytesMut,
) -> Result<(), PgError> {
    let Some((kind, rest)) = body.split_first_chunk::<4>() else {
        return Err(PgError::Protocol("an authentication request without a kind".into()));
    };
    let password = target.password.expose().as_bytes();
    match i32::from_be_bytes(*kind) {
        0 => {}
        3 => frontend::password_message(password, out)?,
        5 => {
            let Some(salt) = rest.first_chunk::<4>() else {
                return Err(PgError::Protocol("an MD5 request without salt".into()));
            };
            frontend::password_message(md5_hash(target.user.as_bytes(), password, *salt).as_bytes(), out)?;
        }
        10 => {
            let offered = |name: &str| rest.split(|byte| *byte == 0).any(|found| found == name.as_bytes());
            let (mechanism, binding) = mechanism(channel, offered)?;
            let started = ScramSha256::new(password, binding);
            frontend::sasl_initial_response(mechanism, started.message(), out)?;
            *scram = Some(started);
        }
        11 => {
            let scram = scram.as_mut().ok_or_else(|| PgError::Protocol("SASL data before SASL began".into()))?;
            scram.update(rest)?;
            frontend::sasl_response(scram.message(), out)?;
        }
        12 => {
            let scram = scram.as_mut().ok_or_else(|| PgError::Protocol("SASL data before SASL began".into()))?;
            scram.finish(rest)?;
        }
        other => return Err(PgError::Protocol(format!("authentication method {other} is not supported"))),
    }
    Ok(())
}

/// Which of the offered mechanisms is taken: the one that is bound to the channel where that can be.
fn mechanism(channel: &Channel, offered: impl Fn(&str) -> bool) -> Result<(&'static str, ChannelBinding), PgError> {
    match channel {
        Channel::Encrypted(Some(end_point)) if offered(SCRAM_SHA_256_PLUS) => {
            Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(end_point.clone())))
        }
        _ if !offered(SCRAM_SHA_256) => {
            Err(PgError::Protocol("the server offers no SASL mechanism this client speaks".into()))
        }
        // Says that we could have: a server that offered it notices that somebody between took the offer away.
        Channel::Encrypted(Some(_)) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
        Channel::Encrypted(None) | Channel::Plain => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_login_is_bound_to_an_encrypted_channel_where_the_server_can() {
        let both = |name: &str| name == SCRAM_SHA_256 || name == SCRAM_SHA_256_PLUS;
        let bound = Channel::Encrypted(Some(vec![1]));
        assert_eq!(mechanism(&bound, both).unwrap().0, SCRAM_SHA_256_PLUS);
        assert_eq!(mechanism(&Channel::Plain, both).unwrap().0, SCRAM_SHA_256);
        assert_eq!(mechanism(&bound, |name| name == SCRAM_SHA_256).unwrap().0, SCRAM_SHA_256);
        assert!(mechanism(&bound, |_| false).is_err());
    }
}
