//! `quartermaster open`: a fresh start URL of the server that runs on a data directory.

use serde::Deserialize;

use crate::{cli::DataDir, endpoints::Endpoints, failure::Failure, output, settings};

#[derive(Deserialize)]
struct Ticket {
    url: String,
}

pub(crate) fn run(options: DataDir) -> Result<(), Failure> {
    let dir = settings::data_dir(options.data_dir)?;
    let endpoints = Endpoints::read(&dir)
        .map_err(|error| {
            Failure::new(format!("cannot read run/endpoints.json in {}: {error}", dir.display()))
        })?
        .ok_or_else(|| {
            Failure::new(format!("Quartermaster is not running on {}", dir.display()))
                .hint("start it with `quartermaster up`, or say where it runs with --data-dir DIR")
        })?;
    let Some(token) = &endpoints.token else {
        return Err(Failure::new("the server there knows its callers by other means")
            .hint("open its address as your administrator told you"));
    };
    let ticket = super::block_on(async {
        fetch(&endpoints, token).await.map_err(|error| {
            Failure::new(format!("the server at {} gives no start URL: {error}", endpoints.api))
        })
    })?;
    output::data(&format!("{}\n", ticket.url));
    Ok(())
}

async fn fetch(endpoints: &Endpoints, token: &str) -> reqwest::Result<Ticket> {
    let url = format!("{}{}", endpoints.api.trim_end_matches('/'), web::local::TICKETS_PATH);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.post(url).bearer_auth(token);
    request.send().await?.error_for_status()?.json().await
}
