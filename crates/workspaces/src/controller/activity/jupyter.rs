//! Asks a Jupyter server when it was last active.
//!
//! It is asked at the address of its pod and nowhere else: redirects are not followed.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::probes::{Target, Work};
use crate::{
    connect,
    decide::{
        activity::{Failed, Seen, busy_kernels, status},
        naming,
    },
    model::connect_path,
};

/// The longest answer that is read.
const LARGEST: usize = 1 << 20;

/// When the Jupyter server of a workspace was last active. A kernel that works counts as activity:
/// it says nothing while it does.
pub(super) async fn probe(work: &Work, target: &Target, port_id: &str) -> Result<Seen, Failed> {
    let limit = work.options.jupyter_timeout;
    match timeout(limit, ask(work, target, port_id)).await {
        Ok(answer) => answer.map_err(Failed::Because),
        Err(_) => Err(Failed::Timeout(limit)),
    }
}

async fn ask(work: &Work, target: &Target, port_id: &str) -> Result<Seen, String> {
    let port = target.ports.iter().find(|port| port.id == port_id);
    let port = port.ok_or_else(|| format!("the image has no port {port_id:?}"))?;
    let port = u16::try_from(port.port).map_err(|_| "no port number".to_owned())?;
    let address = target.address.ok_or("the pod has no address")?;
    let prefix = connect_path(&target.namespace, &target.workspace, port_id);
    let mut server = Server {
        address: (address, port).into(),
        secret: if work.shows_secret { secret(work, target).await? } else { None },
        prefix,
    };
    let mut answer = server.get("api/status").await?;
    // Behind a proxy that takes the prefix off, a program need not know it.
    if answer.status == StatusCode::NOT_FOUND
        && target.removed_prefixes.iter().any(|p| p == port_id)
    {
        "/".clone_into(&mut server.prefix);
        answer = server.get("api/status").await?;
    }
    let told = status(&answer.success()?, answer.date, (work.now)())?;
    if told.kernels > 0 {
        let kernels = server.get("api/kernels?no_track_activity=1").await?;
        // A server without that list has no kernels as Jupyter has them.
        if kernels.status != StatusCode::NOT_FOUND && busy_kernels(&kernels.success()?)? {
            return Ok(Seen::Now);
        }
    }
    Ok(Seen::At(told.last_activity))
}

/// The secret of the workspace's own, which its program wants to see.
async fn secret(work: &Work, target: &Target) -> Result<Option<SecretString>, String> {
    let api = Api::<Secret>::namespaced(work.client.clone(), &target.namespace);
    let found = api.get_opt(&naming::connect_secret(&target.workspace)).await;
    let found = found.map_err(|error| format!("cannot read its secret: {error}"))?;
    Ok(found.and_then(|secret| connect::token(secret, &target.uid)))
}

struct Server {
    address: SocketAddr,
    secret: Option<SecretString>,
    prefix: String,
}

struct Answer {
    status: StatusCode,
    /// What the server's clock showed, in ms since 1970.
    date: Option<i64>,
    body: Bytes,
}

impl Answer {
    fn success(&self) -> Result<Bytes, String> {
        if self.status.is_success() {
            Ok(self.body.clone())
        } else {
            Err(format!("status {}", self.status.as_u16()))
        }
    }
}

impl Server {
    async fn get(&self, path: &str) -> Result<Answer, String> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        // Ends with this request, however that ends.
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        self.exchange(sender, path).await
    }

    async fn exchange(
        &self,
        mut sender: SendRequest<Empty<Bytes>>,
        path: &str,
    ) -> Result<Answer, String> {
        let mut request = Request::get(format!("{}{path}", self.prefix))
            .header(header::HOST, self.address.to_string())
            .header(header::USER_AGENT, "quartermaster")
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        if let Some(secret) = &self.secret
            && let Ok(mut value) =
                HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))
        {
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| format!("no answer: {error}"))?;
        let (status, date) = (answer.status(), date(answer.headers()));
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| format!("bad body: {error}"))?.to_bytes();
        Ok(Answer { status, date, body })
    }
}

fn date(headers: &http::HeaderMap) -> Option<i64> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    Some(DateTimeParser::new().parse_timestamp(text).ok()?.as_millisecond())
}
