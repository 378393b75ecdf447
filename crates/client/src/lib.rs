//! Calls a server over gRPC, Bowline or etcd: which endpoint, with which certificates, as whom, and for how long.
//!
//! Endpoints are tried in their order, and the first that accepts a connection is used from then on; [`Client::at`]
//! asks another member. Every call has a deadline. Calls take and return the messages of the wire contract, but where a
//! call has one right way to be made (a change that is guarded by a revision), there is a function for that.
//!
//! Not here: what the command line looks like, watches, retries. A call that failed has not been repeated, but for one
//! whose token had expired, which the server did not look at.
#![forbid(unsafe_code)]

mod call;
mod cluster;
mod connect;
mod error;
mod guarded;
mod kv;
mod lease;
mod maintenance;
mod space;

pub use bytes::Bytes;
pub use connect::{Credentials, Options, Tls};
pub use error::{Error, ErrorKind, Result};
pub use guarded::{CHANGES_MAX, Change, Guarded, LeaseOfPut, To};
pub use kv::range_of_prefix;
pub use proto::etcdserverpb as pb;
pub use proto::mvccpb::KeyValue;

use call::Token;
use std::sync::Arc;
use tonic::transport::Channel;

/// A connection to one endpoint. A clone shares the connection and the token.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    endpoint: String,
    options: Arc<Options>,
    token: Arc<Token>,
}

impl Client {
    /// Connects to the first endpoint that accepts it, and logs in if credentials are given.
    ///
    /// Fails: the last endpoint's error if none does; what the server says to the credentials.
    pub async fn connect(options: &Options) -> Result<Client> {
        let mut last = Error::new(ErrorKind::Unreachable, "connect: no endpoint is given".to_owned());
        let token = Arc::new(Token::default());
        for endpoint in &options.endpoints {
            match connect::connect(endpoint, options).await {
                Ok(channel) => {
                    let options = Arc::new(options.clone());
                    let client = Client { channel, endpoint: endpoint.clone(), options, token };
                    client.log_in().await?;
                    return Ok(client);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same cluster through another endpoint, with the same certificates and the same token: for calls that a
    /// member answers for itself alone (status, hash, defragmentation).
    pub async fn at(&self, endpoint: &str) -> Result<Client> {
        let channel = connect::connect(endpoint, &self.options).await?;
        let (options, token) = (self.options.clone(), self.token.clone());
        Ok(Client { channel, endpoint: endpoint.to_owned(), options, token })
    }

    /// As it was given.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}
