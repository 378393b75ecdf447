//! One call: token, deadline, and what went wrong in a sentence.

use crate::{Client, Error, ErrorKind, Result, pb};
use pb::auth_client::AuthClient;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// For what works through the whole store: defragmentation, hashes, a compaction that is waited for.
pub(crate) const WHOLE_STORE_TIMEOUT: Duration = Duration::from_secs(600);
/// Largest answer that is taken; gRPC's own bound of a message. Who wants less asks for less.
pub(crate) const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// What the server gave for name and password.
#[derive(Debug, Default)]
pub(crate) struct Token(Mutex<Option<MetadataValue<Ascii>>>);

impl Token {
    fn get(&self) -> Option<MetadataValue<Ascii>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, token: MetadataValue<Ascii>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }
}

impl Client {
    /// Makes a call and, if the token was not valid any more, makes it once again with a new one.
    pub(crate) async fn call<M: Clone, A, F>(
        &self,
        doing: &str,
        message: M,
        timeout: Duration,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<A>
    where
        F: Future<Output = std::result::Result<Response<A>, Status>>,
    {
        let mut answer = call(self.channel.clone(), self.request(message.clone(), timeout)).await;
        if answer.as_ref().is_err_and(is_old_token) && self.options.credentials.is_some() {
            self.log_in().await?;
            answer = call(self.channel.clone(), self.request(message, timeout)).await;
        }
        let failed = |status: Status| Error::of_status(&format!("{doing} at {}", self.endpoint), &status);
        answer.map(Response::into_inner).map_err(failed)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    fn request<M>(&self, message: M, timeout: Duration) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        if let Some(token) = self.token.get() {
            request.metadata_mut().insert("token", token);
        }
        request
    }

    /// A server without authentication has no tokens, and needs none.
    pub(crate) async fn log_in(&self) -> Result<()> {
        let Some(credentials) = &self.options.credentials else { return Ok(()) };
        let doing = format!("log in as {} at {}", credentials.name, self.endpoint);
        let mut request = Request::new(pb::AuthenticateRequest {
            name: credentials.name.clone(),
            password: credentials.password.clone(),
        });
        request.set_timeout(self.timeout());
        let token = match AuthClient::new(self.channel.clone()).authenticate(request).await {
            Ok(answer) => answer.into_inner().token,
            Err(status) if status.code() == Code::FailedPrecondition => return Ok(()),
            Err(status) => return Err(Error::of_status(&doing, &status)),
        };
        let not_ascii =
            |_| Error::new(ErrorKind::Other, format!("{doing}: the token is no text that a header can carry"));
        self.token.set(token.parse().map_err(not_ascii)?);
        Ok(())
    }
}

/// The server looked at nothing but the token.
fn is_old_token(status: &Status) -> bool {
    let text = status.message();
    text.contains("invalid auth token") || text.contains("revision of auth store is old")
}
