//! Calls a server over gRPC: which endpoint, with which certificates, and for how long.
//!
//! Endpoints are tried in their order, and the first that answers is used from then on. Every call has a deadline.
//! Not here: what the command line looks like, and etcd's own services, for which every language has a client.
#![forbid(unsafe_code)]

use proto::bowline::space_client::SpaceClient;
use proto::bowline::{TopRequest, TopResponse};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port`, or URLs with http or https; at least one.
    pub endpoints: Vec<String>,
    pub tls: Tls,
    /// For the connection, and for each call.
    pub timeout: Duration,
}

/// PEM files. An https endpoint needs the CA's.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that are shown to the server; both or none.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// Why a call got no answer, in a sentence that names the endpoint or the file.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A connection to the first endpoint that answered.
#[derive(Debug, Clone)]
pub struct Client {
    space: SpaceClient<Channel>,
    endpoint: String,
}

impl Client {
    pub async fn connect(options: &Options) -> Result<Client, Error> {
        let mut last = Error("no endpoint is given".to_owned());
        for endpoint in &options.endpoints {
            match connect(endpoint, options).await {
                Ok(channel) => {
                    return Ok(Client { space: SpaceClient::new(channel), endpoint: endpoint.clone() });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Who fills the store.
    pub async fn top(&mut self, request: TopRequest) -> Result<TopResponse, Error> {
        let answer = self.space.top(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| {
            let hint = match status.code() {
                tonic::Code::Unimplemented => "; only Bowline has this service, etcd does not",
                _ => "",
            };
            Error(format!("ask {} who fills the store: {}{hint}", self.endpoint, status.message()))
        })
    }
}

async fn connect(endpoint: &str, options: &Options) -> Result<Channel, Error> {
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let failed = |error: &dyn std::error::Error| {
        // The cause says what happened; the outermost error only that something did.
        let mut text = format!("connect to {endpoint}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Error(text)
    };
    let mut target = Endpoint::from_shared(url.clone()).map_err(|error| failed(&error))?;
    target = target.connect_timeout(options.timeout).timeout(options.timeout);
    if url.starts_with("https://") {
        target = target.tls_config(tls(&options.tls)?).map_err(|error| failed(&error))?;
    }
    target.connect().await.map_err(|error| failed(&error))
}

fn tls(files: &Tls) -> Result<ClientTlsConfig, Error> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| Error(format!("read certificate file {}: {error}", path.display())))
    };
    let Some(ca_file) = &files.ca_file else {
        return Err(Error("an https endpoint needs --cacert, the CA that signed the server's certificate".to_owned()));
    };
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca_file)?));
    match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(config),
        _ => Err(Error("--cert and --key belong together: one of them is missing".to_owned())),
    }
}
