//! The tests of the workspace, built once; each target is a program that runs without cargo.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{self, say};

/// The package of the tests against real programs.
pub(crate) const E2E: &str = "quartermaster-e2e";
/// The package that gives tests their cluster: who depends on it can be tested on a real one.
const TESTCLUSTER: &str = "testcluster";

/// What only those tests need to be built.
pub(crate) const FEATURES: &str = "quartermaster-e2e/external";

/// Everything that `cargo test` would run, and the program itself.
pub(crate) struct Suite {
    pub(crate) programs: Vec<Program>,
    /// The program that users run, built with it.
    pub(crate) binary: PathBuf,
}

/// The tests of one target.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) package: String,
    pub(crate) target: String,
    directory: PathBuf,
    file: PathBuf,
}

impl Suite {
    /// Builds all of it. Which features of a dependency are on depends on what is built together:
    /// only by building everything, everywhere, is each dependency compiled once.
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = shell::cargo();
        cargo.args(["test", "--workspace", "--features", FEATURES]);
        cargo.args(["--no-run", "--message-format=json-render-diagnostics"]);
        say(&format!("+ {cargo:?}"));
        let built = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !built.status.success() {
            bail!("the tests do not build");
        }
        let messages = String::from_utf8(built.stdout)?;
        let messages: Vec<Value> =
            messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut programs: Vec<_> = messages.iter().filter_map(Program::of).collect();
        programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
        let program = messages.iter().find(|message| {
            message["target"]["name"] == "quartermaster"
                && message["target"]["kind"][0] == "bin"
                && message["profile"]["test"] == false
        });
        let binary = program.and_then(|message| message["executable"].as_str());
        Ok(Self { programs, binary: binary.context("cargo built no program")?.into() })
    }

    /// The tests of a target.
    pub(crate) fn target(&self, name: &str) -> Result<&Program> {
        let found = self.programs.iter().find(|program| program.target == name);
        found.with_context(|| format!("there is no test target {name}"))
    }

    /// The tests that can run on a real cluster, by package.
    pub(crate) fn on_clusters(&self) -> Result<Vec<Vec<&Program>>> {
        let mut metadata = shell::cargo();
        metadata.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
        let metadata: Value = serde_json::from_str(&shell::output(&mut metadata)?)?;
        let packages = metadata["packages"].as_array().context("no packages")?.iter();
        let users = packages.filter(|package| {
            let dependencies = package["dependencies"].as_array();
            dependencies.into_iter().flatten().any(|one| one["name"] == TESTCLUSTER)
        });
        let of = |package: &Value| {
            let only = package["metadata"][TESTCLUSTER]["targets"].as_array();
            let all = self.programs.iter().filter(|program| program.package == package["name"]);
            all.filter(|program| {
                only.is_none_or(|only| only.iter().any(|target| *target == program.target))
            })
            .collect()
        };
        Ok(users.map(of).collect())
    }
}

impl Program {
    /// The program that a message of cargo tells about.
    fn of(message: &Value) -> Option<Self> {
        if message["profile"]["test"] != true {
            return None;
        }
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
        // `path+file:///…/crates/hooks#0.1.0`, or with the name before the version.
        let (place, rest) = message["package_id"].as_str()?.rsplit_once('#')?;
        let named = rest.split_once('@').map(|(name, _)| name);
        let package = named.or_else(|| place.rsplit('/').next())?;
        Some(Self {
            package: package.to_owned(),
            target: message["target"]["name"].as_str()?.to_owned(),
            directory: directory.to_owned(),
            file: message["executable"].as_str()?.into(),
        })
    }

    /// A name for people.
    pub(crate) fn name(&self) -> String {
        match self.package == self.target {
            true => self.package.clone(),
            false => format!("{} {}", self.package, self.target),
        }
    }

    /// Runs the tests, as cargo would; what fails is tried once more.
    pub(crate) fn command(&self) -> Result<Command> {
        let [myself, twice, file] = self.line()?;
        let mut command = Command::new(myself);
        command.arg(twice).arg(file);
        self.settle(&mut command);
        Ok(command)
    }

    /// The beginning of that command, for scripts.
    pub(crate) fn line(&self) -> Result<[OsString; 3]> {
        Ok([shell::myself()?.into(), "twice".into(), self.file.clone().into()])
    }

    /// Gives another command what cargo gives to the tests.
    pub(crate) fn settle(&self, command: &mut Command) {
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command.env("CARGO", shell::cargo().get_program());
    }

    /// Where it is.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it has a test that fits these filters.
    pub(crate) fn has(&self, filter: &[String]) -> Result<bool> {
        let mut list = Command::new(&self.file);
        list.args(filter).args(["--list", "--format=terse"]);
        let listed = shell::output(&mut list)?;
        Ok(!listed.trim().is_empty())
    }
}
