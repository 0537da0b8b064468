//! TLS of the HTTP listener: a certificate that can be read again while connections live.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Why a certificate is not used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file}: cannot be read: {why}")]
    Read {
        /// Which.
        file: String,
        /// What the system says.
        why: io::Error,
    },
    /// A file is there and does not hold what it should.
    #[error("{file}: {why}: expected {expected}")]
    Pem {
        /// Which.
        file: String,
        /// What was read.
        why: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// The two do not belong together, or the key is of a kind that is not used.
    #[error("{certificate} and {key} cannot be used together: {why}")]
    Unusable {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// What TLS says.
        why: String,
    },
}

/// What a certificate's file should hold.
const CHAIN: &str = "PEM, the server's certificate first and then those it is signed with";
/// What a key's file should hold.
const KEY: &str = "PEM, one unencrypted private key";

/// A certificate, its key, and where they are.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// When a file cannot be read, is no PEM of its kind, or the key is not the certificate's.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Mutex::new(Arc::new(read(certificate, key)?));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the same files again, for new connections.
    ///
    /// # Errors
    /// As [`Tls::open`]; the old certificate holds then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = Arc::new(read(&self.certificate, &self.key)?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Shakes hands with a peer, for no longer than `patience`; `None` when that is over.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> Option<io::Result<TlsStream<TcpStream>>> {
        let config = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        timeout(patience, TlsAcceptor::from(config).accept(stream)).await.ok()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let pem = |file: &Path, expected| {
        let file = file.display().to_string();
        move |why: pem::Error| TlsError::Pem { file: file.clone(), why: words(&why), expected }
    };
    let unusable = |why: rustls::Error| TlsError::Unusable {
        certificate: certificate.display().to_string(),
        key: key.display().to_string(),
        why: why.to_string(),
    };
    let chain = CertificateDer::pem_slice_iter(&bytes(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(pem(certificate, CHAIN))?;
    let private = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(pem(key, KEY))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn bytes(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|why| TlsError::Read { file: file.display().to_string(), why })
}

/// What is wrong with a file; nothing of what is in it.
fn words(error: &pem::Error) -> String {
    let words = if matches!(error, pem::Error::NoItemsFound) {
        "nothing of the kind is in it"
    } else if matches!(error, pem::Error::MissingSectionEnd { .. }) {
        "it ends too early"
    } else {
        "it is no PEM"
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn a_certificate_that_cannot_be_used_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let [one, other] = [0, 1].map(|_| generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        let CertifiedKey { cert, signing_key } = &one;
        let (certificate, key) =
            (write("cert.pem", &cert.pem()), write("key.pem", &signing_key.serialize_pem()));
        let others = write("other.pem", &other.signing_key.serialize_pem());
        let cut = write("cut.pem", &cert.pem()[..200]);
        let garbage = write("garbage.pem", "hello");
        let absent = folder.path().join("absent.pem");
        assert!(Tls::open(&certificate, &key).is_ok());
        let check = |certificate: &Path, key: &Path, expected: &[&str]| {
            let error = Tls::open(certificate, key).err().unwrap().to_string();
            assert!(expected.iter().all(|words| error.contains(words)), "{error}");
        };
        check(&absent, &key, &["absent.pem: cannot be read"]);
        check(&certificate, &absent, &["absent.pem: cannot be read"]);
        check(&garbage, &key, &["garbage.pem: nothing of the kind is in it: expected PEM, the server's"]);
        check(&cut, &key, &["cut.pem: it ends too early"]);
        check(&key, &key, &["key.pem: nothing of the kind is in it"]);
        check(&certificate, &certificate, &["cert.pem: nothing of the kind is in it: expected PEM, one"]);
        check(&certificate, &others, &["cert.pem and ", "other.pem cannot be used together"]);
    }

    #[test]
    fn a_certificate_read_again_in_vain_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let one = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&certificate, one.cert.pem()).unwrap();
        fs::write(&key, one.signing_key.serialize_pem()).unwrap();
        let tls = Tls::open(&certificate, &key).unwrap();
        let before = Arc::clone(&tls.current.lock().unwrap());
        fs::write(&key, "hello").unwrap();
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&before, &tls.current.lock().unwrap()));
        fs::write(&key, one.signing_key.serialize_pem()).unwrap();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.current.lock().unwrap()));
    }
}
