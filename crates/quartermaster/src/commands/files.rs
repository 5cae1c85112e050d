//! `quartermaster files`: what runs in a workspace of the kind `files`.

use std::time::Duration;

use files::{Limits, Options, Token};
use web::listener::{self, Drain};

use crate::{cli, failure::Failure, output, signals::Signals};

/// Uploads that are under way when the workspace is paused may end within this time.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn run(options: cli::Files, log: Option<&str>) -> Result<(), Failure> {
    super::log(log)?;
    let root = options.root.display().to_string();
    let token = std::env::var("QUARTERMASTER_CONNECT_TOKEN").ok().and_then(Token::new);
    let router = files::router(Options {
        root: options.root,
        base_path: options.base_path.clone(),
        token,
        limits: Limits::default(),
    })
    .map_err(|error| {
        Failure::new(format!("cannot serve {root}: {error}"))
            .hint("the directory must exist; in a workspace it is the home volume")
    })?;
    super::block_on(async {
        let mut signals = Signals::new()?;
        let bound = listener::bind(options.listen).await;
        let bound = bound.map_err(|error| Failure::new(error.to_string()))?;
        output::note(&format!("serving {root} at http://{}{}", bound.address(), options.base_path));
        let drain = Drain::new();
        let serving = bound.serve(router, listener::Limits::default(), drain.clone());
        let serving = tokio::spawn(serving);
        signals.next().await;
        drain.stop(GRACE).await;
        serving.await.map_err(|error| Failure::new(format!("the file browser broke: {error}")))
    })
}
