//! The registry's client against a server that wants credentials and has a certificate of an authority of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use openssl::{
    pkey::PKey,
    ssl::{SslAcceptor, SslMethod},
    x509::X509,
};
use testkit::certificates::Authority;
use topics::{RegistryAccess, RegistryClient, RegistryError};

/// Answers every request: one subject to `me:secret`, 401 to others.
fn serve(authority: &Authority) -> u16 {
    let issued = authority.issue("registry.example", &["127.0.0.1"]);
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&PKey::private_key_from_pem(issued.key.as_bytes()).unwrap()).unwrap();
    acceptor.set_certificate(&X509::from_pem(issued.certificate.as_bytes()).unwrap()).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(socket.unwrap()) else { continue };
            let (mut request, mut bytes) = (String::new(), [0; 4096]);
            while !request.contains("\r\n\r\n") {
                let Ok(read @ 1..) = stream.read(&mut bytes) else { break };
                request.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            // me:secret
            let known = request.to_ascii_lowercase().contains("authorization: basic bwu6c2vjcmv0");
            let (status, body) = if known { ("200 OK", "[\"one\"]") } else { ("401 Unauthorized", "Unauthorized") };
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    port
}

fn client(url: &str, properties: &[(&str, &str)]) -> RegistryClient {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    RegistryClient::with_access(url, RegistryAccess::read(&properties).unwrap()).unwrap()
}

#[tokio::test]
async fn credentials_and_an_authority_of_its_own_reach_it() {
    let folder = std::env::temp_dir().join(testkit::fresh_name("registry"));
    std::fs::create_dir_all(&folder).unwrap();
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let (root, other) = (folder.join("root.pem"), folder.join("other.pem"));
    std::fs::write(&root, authority.pem()).unwrap();
    std::fs::write(&other, stranger.pem()).unwrap();
    let port = serve(&authority);
    let url = format!("https://127.0.0.1:{port}");
    let trusted = ("ssl.truststore.location", root.to_str().unwrap());
    let known = client(&url, &[trusted, ("basic.auth.user.info", "me:secret")]);
    assert_eq!(known.subjects().await.unwrap(), ["one"]);
    let by_url = client(&format!("https://me:secret@127.0.0.1:{port}"), &[trusted]);
    assert_eq!(by_url.subjects().await.unwrap(), ["one"]);
    assert_eq!(by_url.url(), url);
    let refused = client(&url, &[trusted, ("basic.auth.user.info", "me:wrong-word")]).subjects().await.unwrap_err();
    assert!(
        matches!(refused, RegistryError::Refused { .. }) && !refused.to_string().contains("wrong-word"),
        "{refused}"
    );
    let unknown = client(&url, &[("ssl.truststore.location", other.to_str().unwrap())]);
    assert!(matches!(unknown.subjects().await.unwrap_err(), RegistryError::Retry { .. }));
    let _ = std::fs::remove_dir_all(&folder);
}
