//! The certificates of Hearth's processes, as whoever dials them is shown.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The serial number of the certificate that a TLS server shows, in lower-case hexadecimal digits.
pub(crate) async fn serial_served(address: &str) -> Result<String> {
    timeout(Duration::from_secs(5), handshake(address)).await.context("no handshake within 5 s")?
}

/// The serial number of the first certificate in a PEM text, in lower-case hexadecimal digits.
pub(crate) fn serial_of_pem(pem: &[u8]) -> Result<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem)?;
    serial(&pem.contents)
}

async fn handshake(address: &str) -> Result<String> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.with_context(|| format!("dialling {address}"))?;
    // The server shows itself first, and refuses us for want of a certificate only then.
    let stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("hearth.internal")?, stream)
        .await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    serial(shown.context("no certificate was shown")?)
}

fn serial(der: &[u8]) -> Result<String> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    Ok(certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes any certificate: it is looked at, and nothing is said over the connection.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
