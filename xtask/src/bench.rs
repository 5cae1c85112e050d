//! `cargo xtask bench`.

use anyhow::Result;

use crate::shell;

pub(crate) fn run(quick: bool) -> Result<()> {
    let programs = ["--package", "quartermaster", "--package", "bench", "--bins"];
    shell::run(shell::cargo().args(["build", "--release"]).args(programs))?;
    let built = shell::built("release")?;
    let mut bench = shell::command(built.join("bench"));
    bench.arg("--binary").arg(built.join("quartermaster"));
    if quick {
        bench.arg("--quick");
    }
    shell::run(&mut bench)
}
