//! The environment of a container, and the command that its image and its pod add up to.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource, Pod};
use kube::ResourceExt;

use super::expand::expand;
use super::fields;
use super::images::ImageEntry;
use super::mounts::PathMap;
use super::runtime::Program;
use super::sources::{Source, SourceError, Sources};

/// Why a container cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0}")]
    Field(String),
}

/// Why a container's program cannot be run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("the container has no command")]
    None,
    #[error("program \"{0}\" is not on this machine")]
    NotFound(String),
}

/// What a container's program is prepared from.
pub(crate) struct Setting<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    /// Where the mounts of this container really are.
    pub(crate) paths: &'a PathMap,
    /// What a program finds as `HOME`, and works in unless told otherwise.
    pub(crate) home: &'a Path,
    pub(crate) temporary: &'a Path,
    /// Where programs are looked for.
    pub(crate) search_path: &'a str,
}

/// Names and values in the order in which they were set; the last value of a name counts.
#[derive(Default)]
pub(crate) struct Environment {
    order: Vec<String>,
    values: HashMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn into_pairs(mut self) -> Vec<(String, String)> {
        let values = &mut self.values;
        self.order.into_iter().filter_map(|name| values.remove_entry(&name)).collect()
    }
}

/// Builds the environment: a clean base, then what the pod says, then what the image adds.
pub(crate) async fn environment(
    setting: &Setting<'_>,
    container: &Container,
    entry: &ImageEntry,
    sources: &Sources,
) -> Result<Environment, ConfigError> {
    let mut environment = base(setting);
    let mut given = Environment::default();
    for from in container.env_from.iter().flatten() {
        all_of(from, sources, setting.paths, &mut given).await?;
    }
    for variable in container.env.iter().flatten() {
        let value = value_of(variable, setting, container, sources, |name| {
            given.get(name).or_else(|| environment.get(name))
        });
        if let Some(value) = value.await? {
            given.set(&variable.name, value);
        }
    }
    let names: Vec<_> = given.order.clone();
    for name in names {
        if let Some(value) = given.values.remove(&name) {
            environment.set(&name, value);
        }
    }
    for (name, value) in entry.env.iter().filter(|(name, _)| !given.order.contains(name)) {
        let value = expand(value, |name| environment.get(name), setting.paths);
        environment.set(name, value);
    }
    Ok(environment)
}

/// What every program finds. Nothing of Quartermaster's own environment but the search path and
/// where in the world it is.
fn base(setting: &Setting<'_>) -> Environment {
    let mut environment = Environment::default();
    for name in ["LC_ALL", "LC_CTYPE", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            environment.set(name, value);
        }
    }
    let language = std::env::var("LANG").unwrap_or_else(|_| "C.UTF-8".to_owned());
    for (name, value) in [
        ("PATH", setting.search_path.to_owned()),
        ("LANG", language),
        ("HOME", setting.home.to_string_lossy().into_owned()),
        ("TMPDIR", setting.temporary.to_string_lossy().into_owned()),
        ("HOSTNAME", setting.pod.name_any()),
        ("POD_IP", setting.address.to_string()),
    ] {
        environment.set(name, value);
    }
    environment
}

async fn all_of(
    from: &EnvFromSource,
    sources: &Sources,
    paths: &PathMap,
    given: &mut Environment,
) -> Result<(), ConfigError> {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(map), _) => (Source::ConfigMap, &map.name, map.optional),
        (None, Some(secret)) => (Source::Secret, &secret.name, secret.optional),
        (None, None) => return Ok(()),
    };
    let values = sources.all(kind, name, optional.unwrap_or(false)).await?;
    for (key, value) in values.into_iter().flatten() {
        let name = format!("{prefix}{key}");
        // As the kubelet: keys that cannot be names are left out.
        if !name.is_empty() && !name.contains(['=', '\0']) {
            given.set(&name, text(kind, value, paths));
        }
    }
    Ok(())
}

/// A value as text. Paths in a Secret are left alone: it is not for paths, and must not change.
fn text(kind: Source, value: Vec<u8>, paths: &PathMap) -> String {
    let text = String::from_utf8_lossy(&value);
    match kind {
        Source::Secret => text.into_owned(),
        Source::ConfigMap => paths.map(&text),
    }
}

async fn value_of<'a>(
    variable: &EnvVar,
    setting: &Setting<'_>,
    container: &Container,
    sources: &Sources,
    lookup: impl Fn(&str) -> Option<&'a str>,
) -> Result<Option<String>, ConfigError> {
    match &variable.value_from {
        None => {
            let value = variable.value.as_deref().unwrap_or_default();
            Ok(Some(expand(value, lookup, setting.paths)))
        }
        Some(from) => referred(from, setting, container, sources).await,
    }
}

async fn referred(
    from: &EnvVarSource,
    setting: &Setting<'_>,
    container: &Container,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    if let Some(at) = &from.secret_key_ref {
        let optional = at.optional.unwrap_or(false);
        let value = sources.one(Source::Secret, &at.name, &at.key, optional).await?;
        return Ok(value.map(|value| text(Source::Secret, value, setting.paths)));
    }
    if let Some(at) = &from.config_map_key_ref {
        let optional = at.optional.unwrap_or(false);
        let value = sources.one(Source::ConfigMap, &at.name, &at.key, optional).await?;
        return Ok(value.map(|value| text(Source::ConfigMap, value, setting.paths)));
    }
    if let Some(at) = &from.field_ref {
        let value = fields::field(setting.pod, setting.address, &at.field_path);
        return value.map(Some).map_err(ConfigError::Field);
    }
    if let Some(at) = &from.resource_field_ref {
        let value = fields::resource(container, &at.resource);
        return value.map(Some).map_err(ConfigError::Field);
    }
    Err(ConfigError::Field("the source of an environment variable is not supported".to_owned()))
}

/// The program: the pod's command takes the place of the image's, the pod's arguments that of the
/// image's arguments; a command without arguments has none.
pub(crate) fn program(
    setting: &Setting<'_>,
    container: &Container,
    entry: &ImageEntry,
    environment: Environment,
) -> Result<Program, ProgramError> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let (command, arguments) = match (given(&container.command), given(&container.args)) {
        (Some(command), arguments) => (command, arguments.unwrap_or_default()),
        (None, Some(arguments)) => (entry.command.clone(), arguments),
        (None, None) => (entry.command.clone(), entry.args.clone()),
    };
    let mut words = command
        .iter()
        .chain(&arguments)
        .map(|word| expand(word, |name| environment.get(name), setting.paths));
    let name = words.next().filter(|name| !name.is_empty()).ok_or(ProgramError::None)?;
    let arguments = words.collect();
    let working_directory = match container.working_dir.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(setting.paths.map(path)),
        None => setting.home.to_owned(),
    };
    let search_path = environment.get("PATH").unwrap_or_default();
    let path = find(&name, search_path, &working_directory)
        .ok_or_else(|| ProgramError::NotFound(name.clone()))?;
    Ok(Program { path, arguments, environment: environment.into_pairs(), working_directory })
}

/// Finds a program as a shell would.
fn find(name: &str, search_path: &str, working_directory: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(working_directory.join(name)).filter(|path| is_program(path));
    }
    std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting<'a>(pod: &'a Pod, paths: &'a PathMap) -> Setting<'a> {
        Setting {
            pod,
            address: Ipv4Addr::new(127, 64, 0, 1),
            paths,
            home: Path::new("/real/home"),
            temporary: Path::new("/real/tmp"),
            search_path: "/usr/bin:/bin",
        }
    }

    fn sources() -> Sources {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        Sources::new(kube::Client::try_from(config).unwrap(), "team")
    }

    fn entry() -> ImageEntry {
        serde_json::from_value(serde_json::json!({
            "image": "x", "command": ["sh", "-c"], "args": ["echo $(GREETING)"],
            "env": {"TOKEN": "$(SECRET)", "GREETING": "from the image"},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn adds_up_the_environment() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p-0", "labels": {"a/b": "c"}},
        }))
        .unwrap();
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "main", "workingDir": "/home/jovyan/work",
            "env": [
                {"name": "SECRET", "value": "s"},
                {"name": "WHERE", "value": "/home/jovyan:$(HOME):$(LATER)"},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
                {"name": "GREETING", "value": "from $(POD_IP)"},
                {"name": "LATER", "value": "$$(SECRET)"},
            ],
        }))
        .unwrap();
        let paths = PathMap::new([("/home/jovyan".to_owned(), "/real/home".into())]);
        let setting = setting(&pod, &paths);
        let environment =
            environment(&setting, &container, &entry(), &sources()).await.ok().unwrap();
        for (name, value) in [
            ("TOKEN", "s"),
            ("WHERE", "/real/home:/real/home:$(LATER)"),
            ("LABEL", "c"),
            ("GREETING", "from 127.64.0.1"),
            ("LATER", "$(SECRET)"),
            ("HOSTNAME", "p-0"),
        ] {
            assert_eq!(environment.get(name), Some(value), "{name}");
        }
        let program = program(&setting, &container, &entry(), environment).unwrap();
        assert_eq!(program.arguments, ["-c", "echo from 127.64.0.1"]);
        assert_eq!(program.working_directory, Path::new("/real/home/work"));
    }

    #[rstest::rstest]
    #[case(&["env"], &[], &[])]
    #[case(&[], &["a"], &["-c", "a"])]
    #[case(&[], &[], &["-c", "echo $(GREETING)"])]
    #[case(&["env"], &["b"], &["b"])]
    fn the_pod_overrides_the_image(
        #[case] command: &[&str],
        #[case] args: &[&str],
        #[case] expected: &[&str],
    ) {
        let owned = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let container =
            Container { command: owned(command), args: owned(args), ..Container::default() };
        let (pod, paths) = (Pod::default(), PathMap::default());
        let setting = setting(&pod, &paths);
        let program = program(&setting, &container, &entry(), base(&setting)).unwrap();
        assert_eq!(program.arguments, expected);
    }

    #[test]
    fn says_which_program_is_missing() {
        let (pod, paths) = (Pod::default(), PathMap::default());
        let setting = setting(&pod, &paths);
        let container =
            Container { command: Some(vec!["no-such-program".into()]), ..Container::default() };
        let error = program(&setting, &container, &entry(), base(&setting)).err().unwrap();
        assert_eq!(error.to_string(), "program \"no-such-program\" is not on this machine");
    }
}
