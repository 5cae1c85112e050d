//! A running server as a client sees it: the one of a data directory, or the one of a URL.

use http::Method;
use serde_json::Value;

use crate::{cli::ServerOf, endpoints::Endpoints, failure::Failure, settings};

/// See the module.
pub(crate) struct Remote {
    url: String,
    token: Option<String>,
    client: reqwest::Client,
}

impl Remote {
    /// The server that flags name, else the one of the data directory.
    pub(crate) fn find(of: &ServerOf) -> Result<Self, Failure> {
        let (url, token) = match &of.url {
            Some(url) => (url.clone(), of.token.clone()),
            None => {
                let endpoints = local(of)?;
                (endpoints.api, of.token.clone().or(endpoints.token))
            }
        };
        // Nobody may send the token elsewhere: no redirects, and no proxy for this machine.
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = if of.url.is_none() { client.no_proxy() } else { client };
        let client = client.build();
        let client =
            client.map_err(|error| Failure::new(format!("cannot make a client: {error}")))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), token, client })
    }

    /// Asks for JSON; what the server says against it is the failure.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let gone = |error: reqwest::Error| {
            let error = error.without_url();
            Failure::new(format!("the server at {} does not answer: {error}", self.url))
        };
        let response = request.send().await.map_err(gone)?;
        let status = response.status();
        let answer = response.bytes().await.map_err(gone)?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let said = answer["error"].as_str().or(answer["error"]["message"].as_str());
        let said = said.unwrap_or("no reason given");
        let failure = Failure::new(format!("the server answered {}: {said}", status.as_u16()));
        Err(match status.as_u16() {
            401 | 403 => failure.hint("--token says who you are; or your rights do not suffice"),
            404 if said == "no reason given" => failure.hint("does it receive webhooks?"),
            _ => failure,
        })
    }
}

/// The server that runs on a data directory.
fn local(of: &ServerOf) -> Result<Endpoints, Failure> {
    let dir = settings::data_dir(of.data_dir.data_dir.clone())?;
    Endpoints::read(&dir)
        .map_err(|error| {
            Failure::new(format!("cannot read run/endpoints.json in {}: {error}", dir.display()))
        })?
        .ok_or_else(|| {
            Failure::new(format!("Quartermaster is not running on {}", dir.display())).hint(
                "start it with `quartermaster up`, or say where it is with --data-dir DIR or --url URL",
            )
        })
}
