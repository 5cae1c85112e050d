//! `cargo xtask bench`.

use anyhow::Result;

use crate::{
    cluster,
    shell::{self, say},
};

/// The path of the kubeconfig is known inside only.
const ON_REAL: &str = r#"QUARTERMASTER_E2E_KUBECONFIG=$KUBECONFIG exec "$@""#;

pub(crate) fn run(quick: bool) -> Result<()> {
    let programs = ["--package", "quartermaster", "--package", "bench", "--bins"];
    shell::run(shell::cargo().args(["build", "--release"]).args(programs))?;
    let built = shell::built("release")?;
    // Before anything is measured: it may take long.
    let real = cluster::bring();
    let quick = quick.then_some("--quick");
    let mut bench = shell::command(built.join("bench"));
    bench.arg("--binary").arg(built.join("quartermaster")).args(quick);
    shell::run(&mut bench)?;
    if let Err(error) = real {
        say(&format!("left out: the controller on a real API server: {error:#}"));
        return Ok(());
    }
    let mut bench = shell::command(shell::myself()?);
    bench.args(["cluster", "run", "--no-node", "--", "sh", "-c", ON_REAL, "sh"]);
    bench.arg(built.join("bench")).arg("--binary").arg(built.join("quartermaster")).args(quick);
    bench.args(["--only", "controller", "--add"]);
    shell::run(&mut bench)
}
