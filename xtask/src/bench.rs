//! `cargo xtask bench`.

use anyhow::Result;

use crate::{
    cluster, e2e,
    shell::{self, say},
};

pub(crate) fn run(quick: bool) -> Result<()> {
    let programs = ["--package", "quartermaster", "--package", "bench", "--bins"];
    shell::run(shell::cargo().args(["build", "--release"]).args(programs))?;
    let built = shell::built("release")?;
    // Before anything is measured: it may take long.
    let real = cluster::bring();
    let (bench, binary) = (built.join("bench"), built.join("quartermaster"));
    let options = ["--binary".into(), binary].into_iter().chain(quick.then(|| "--quick".into()));
    let options: Vec<_> = options.collect();
    shell::run(shell::command(&bench).args(&options))?;
    if let Err(error) = real {
        say(&format!("left out: the controller on a real API server: {error:#}"));
        return Ok(());
    }
    let mut inside = shell::command(shell::myself()?);
    inside.args(["cluster", "run", "--no-node", "--", "sh", "-c", e2e::INSIDE, "sh"]);
    inside.arg(bench).args(options).args(["--only", "controller", "--add"]);
    shell::run(&mut inside)
}
