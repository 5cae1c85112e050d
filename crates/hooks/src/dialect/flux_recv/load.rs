//! From the file's entries to endpoints: keys are read, names resolved, paths made.

use std::{
    io::Write,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::config::{self, Entry, KeyItem, Settings, TargetEntry};
use crate::{
    controller::{Place, argo_cd},
    decide::{auth::Auth, digest, standard_webhooks},
    journal::{Pace, Seal},
    limits::Bucket,
    model::{Issuer, Key, Keys, TargetKind},
    oidc::{Oidc, Provider},
    receive::{Endpoint, Pause, Table},
    sources::{self, Source},
    targets::{Filtered, FluxV1, Guard, Http, HttpSettings, Log, Relay, RelaySettings, Target},
};

/// Shorter secrets can be guessed from a leaked path.
const SHORT_KEY: usize = 16;

/// How an endpoint without a name is called.
pub(super) fn label(index: usize, source: &str) -> String {
    format!("endpoints[{index}] ({source})")
}

/// The directory that key paths start from.
pub(super) fn directory(config: &Path) -> PathBuf {
    config.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Makes endpoints of entries.
pub(super) struct Builder<'a> {
    settings: &'a Settings,
    directory: &'a Path,
    /// The files that were read, or would have been.
    files: &'a mut Vec<PathBuf>,
    /// What goes before all paths.
    prefix: &'a str,
    /// Where targets in a cluster are, if there are any.
    place: Option<Place>,
    /// All of them, the one that the original knows first.
    targets: Vec<Arc<dyn Target>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        directory: &'a Path,
        files: &'a mut Vec<PathBuf>,
        prefix: &'a str,
        place: Option<Place>,
    ) -> Result<Self, String> {
        let mut builder = Self { settings, directory, files, prefix, place, targets: Vec::new() };
        let plain = TargetEntry::default();
        let default = settings.targets.get("default").unwrap_or(&plain);
        if default.kind.is_some() && !matches!(default.kind(), Some(TargetKind::FluxV1)) {
            return Err("target \"default\": its type is flux-v1, if anything".to_owned());
        }
        let daemon = builder.flux_v1("default", default)?;
        builder.add(daemon, default);
        for (name, entry) in settings.targets.iter().filter(|(name, _)| *name != "default") {
            let target = builder.target(name, entry)?;
            builder.add(target, entry);
        }
        Ok(builder)
    }

    fn add(&mut self, target: Arc<dyn Target>, entry: &TargetEntry) {
        self.targets.push(match &entry.filter {
            Some(filter) => Arc::new(Filtered::new(target, filter.clone())),
            None => target,
        });
    }

    fn target(&mut self, name: &str, entry: &TargetEntry) -> Result<Arc<dyn Target>, String> {
        let Some(word) = &entry.kind else { return Err(format!("target \"{name}\" has no type")) };
        let kind = entry.kind();
        let kind = kind.ok_or_else(|| format!("target \"{name}\": unknown type \"{word}\""))?;
        let of_target = |error| format!("target \"{name}\": {error}");
        match kind {
            TargetKind::FluxV1 => self.flux_v1(name, entry),
            TargetKind::Http => {
                let secret = entry.signing_key_path.as_deref().map(|path| self.secret(path));
                let settings = HttpSettings {
                    url: entry.url.clone().unwrap_or_default(),
                    allow_http: entry.allow_http,
                    allow: entry.allow_cidrs.clone(),
                    secret: secret.transpose()?,
                    timeout: entry.timeout.map_or(Duration::from_secs(10), |span| span.0),
                };
                Ok(Arc::new(Http::new(name, settings)?))
            }
            TargetKind::Relay => {
                let guard = Guard::new(entry.allow_cidrs.clone()).without_tls(entry.allow_http);
                let settings = RelaySettings {
                    urls: entry.url.iter().chain(&entry.urls).cloned().collect(),
                    guard,
                    forward_auth: entry.forward_auth,
                    timeout: entry.timeout.map_or(Duration::from_secs(10), |span| span.0),
                };
                Ok(Arc::new(Relay::new(name, settings)?))
            }
            TargetKind::Log => Ok(Arc::new(Log::new(name))),
            TargetKind::ArgoCd if entry.url.is_some() => {
                self.argo_cd(name, entry).map_err(of_target)
            }
            TargetKind::FluxV2
            | TargetKind::ArgoCd
            | TargetKind::DatasetRefresh
            | TargetKind::Workspace
            | TargetKind::Kubernetes => self.in_cluster(name, entry, kind).map_err(of_target),
        }
    }

    /// A target that is objects of a cluster.
    fn in_cluster(
        &self,
        name: &str,
        entry: &TargetEntry,
        kind: TargetKind,
    ) -> Result<Arc<dyn Target>, String> {
        let place = self.place.clone().ok_or("there is no cluster")?;
        let namespace = entry.namespace.clone().unwrap_or(place.namespace);
        Place { namespace, ..place }.target(name, &entry.as_of_hook(kind))
    }

    /// Argo CD by its own API.
    fn argo_cd(&mut self, name: &str, entry: &TargetEntry) -> Result<Arc<dyn Target>, String> {
        let path = entry.api_token_path.as_deref();
        let token = self.secret(path.ok_or("apiTokenPath is missing: the token of Argo CD")?)?;
        let guard = Guard::new(entry.allow_cidrs.clone()).without_tls(entry.allow_http);
        argo_cd(name, &entry.as_of_hook(TargetKind::ArgoCd), token, guard)
    }

    fn flux_v1(&mut self, name: &str, entry: &TargetEntry) -> Result<Arc<dyn Target>, String> {
        let path = entry.api_token_path.as_ref().or(self.settings.api_token_path.as_ref());
        let token = path.map(|path| self.secret(path)).transpose()?;
        let token = token.map(String::from_utf8).transpose();
        let token = token.map_err(|_| format!("target \"{name}\": the token is no text"))?;
        let api = entry.api.as_ref().unwrap_or(&self.settings.api);
        let daemon = FluxV1::new(name, api, token.as_deref())?;
        Ok(Arc::new(daemon.within(entry.timeout.map(|span| span.0))))
    }

    fn read(&mut self, path: &str) -> Result<(Vec<u8>, PathBuf), String> {
        self.files.push(clean(&self.directory.join(path.trim_start_matches('/'))));
        self.files.extend(path.starts_with('/').then(|| PathBuf::from(path)));
        read_key(self.directory, path)
    }

    /// A secret that is sent: nobody can send a line end, so it is not meant.
    fn secret(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let (bytes, _) = self.read(path)?;
        let value = bytes.trim_ascii_end().to_vec();
        if value.is_empty() { Err(format!("\"{path}\" is empty")) } else { Ok(value) }
    }

    /// What payloads are encrypted with.
    pub(super) fn seal(&mut self) -> Result<Option<Arc<Seal>>, String> {
        let delivery = self.settings.delivery.as_ref();
        let Some(path) = delivery.and_then(|delivery| delivery.encryption_key_path.as_ref()) else {
            return Ok(None);
        };
        Seal::new(&self.secret(path)?).map(|seal| Some(Arc::new(seal)))
    }

    /// The targets of these names.
    fn named(&self, names: Option<&[String]>) -> Result<Vec<Arc<dyn Target>>, String> {
        let Some(names) = names else { return Ok(vec![Arc::clone(&self.targets[0])]) };
        let find = |name: &String| {
            let found = self.targets.iter().find(|target| target.name() == name);
            found.cloned().ok_or_else(|| format!("there is no target \"{name}\""))
        };
        names.iter().map(find).collect()
    }

    fn auth(&mut self, auth: &config::Auth) -> Result<Auth, String> {
        let mut value = |path: &str| self.secret(path);
        Ok(match auth {
            config::Auth::Basic { username_path, password_path } => {
                Auth::Basic { username: value(username_path)?, password: value(password_path)? }
            }
            config::Auth::Bearer { token_path } => Auth::Bearer(value(token_path)?),
            config::Auth::Oidc { issuers } => {
                Auth::Oidc(oidc(issuers)?.ok_or("auth.issuers are missing")?)
            }
            config::Auth::Mtls { subjects } if subjects.is_empty() => {
                return Err("auth.subjects are missing".to_owned());
            }
            config::Auth::Mtls { subjects } => Auth::Mtls(subjects.clone()),
            config::Auth::Header { name, value_path } => {
                Auth::Header { name: name.to_ascii_lowercase(), value: value(value_path)? }
            }
        })
    }

    /// Everybody who is told anything.
    pub(super) fn targets(&self) -> Vec<(Arc<dyn Target>, Pace)> {
        let paced =
            |target: &Arc<dyn Target>| (Arc::clone(target), self.settings.pace(target.name()));
        self.targets.iter().map(paced).collect()
    }

    fn options(&mut self, entry: &Entry) -> Result<sources::Options, String> {
        let mut options = entry.options();
        options.oidc = oidc(&entry.issuers)?;
        if let Some(path) = &entry.signing_key_path {
            let key = self.secret(path)?;
            if !standard_webhooks::is_secret(&key) {
                return Err(format!("\"{path}\" is no signing token (whsec_ and base64)"));
            }
            options.signing = Some(Keys(vec![Key::new(key, None)]));
        }
        if let Some(path) = &entry.opaque_token_path {
            options.opaque_token = Some(Keys(vec![Key::new(self.secret(path)?, None)]));
        }
        Ok(options)
    }

    /// Reads the keys and makes a path of each.
    fn keys(
        &mut self,
        label: &str,
        entry: &Entry,
        source: &dyn Source,
    ) -> Result<(Built, Vec<Key>), String> {
        let mut built =
            Built { keys: Vec::new(), pinned: None, warnings: Vec::new(), endpoint: None };
        let mut keys = Vec::new();
        for (path, not_after) in key_items(entry) {
            let (bytes, file) = self.read(path).map_err(|error| format!("{label}: {error}"))?;
            if bytes.is_empty() && !entry.allow_empty_key {
                return Err(format!("{label}: key \"{path}\" is empty"));
            }
            if let Some(problem) = source.key_problem(&bytes) {
                return Err(format!("{label}: key \"{path}\" {problem}"));
            }
            built.warn_about(label, path, &bytes);
            let digest = digest::endpoint(&bytes, &entry.registry_host);
            let route = format!("{}/hook/{digest}", self.prefix);
            built.keys.push((file, route, not_after));
            let since = changed(&built.keys);
            keys.push(Key::new(bytes, not_after).since(since));
        }
        Ok((built, keys))
    }

    pub(super) fn endpoint(&mut self, index: usize, entry: &Entry) -> Result<Built, String> {
        let label = label(index, &entry.source);
        let options = self.options(entry).map_err(|error| format!("{label}: {error}"))?;
        let source = sources::named(&entry.source, &options)
            .ok_or_else(|| format!("{label}: unknown source \"{}\"", entry.source))?;
        if let Some(problem) = source.problem() {
            return Err(format!("{label}: {problem}"));
        }
        let targets = self.named(entry.targets.as_deref());
        let targets = targets.map_err(|error| format!("{label}: {error}"))?;
        let delivery = self.settings.delivery.as_ref();
        let dead_letter = delivery.and_then(|delivery| delivery.dead_letter_target.clone());
        if let Some(name) = &dead_letter {
            self.named(Some(std::slice::from_ref(name)))
                .map_err(|error| format!("{label}: {error}"))?;
        }
        let auth = entry.auth.as_ref().map(|auth| self.auth(auth)).transpose();
        let auth = auth.map_err(|error| format!("{label}: {error}"))?;
        if source.needs_auth() && auth.is_none() && !entry.insecure {
            return Err(format!(
                "{label}: {} cannot prove who it is: add `auth`, or `insecure: true` if the URL is secret enough",
                entry.source
            ));
        }
        // Registries are told that all went well, whatever happens.
        let side_effects = targets.iter().any(|target| target.side_effects());
        let keep = self.settings.keep(entry, source.answers().failed.is_none(), side_effects);
        let (mut built, keys) = self.keys(&label, entry, &*source)?;
        if keys.is_empty() {
            return Err(format!("{label}: cannot load key from \"\": keyPath is missing"));
        }
        if let Some(path) = &entry.path {
            let path = pinned(path).ok_or_else(|| {
                format!(
                    "{label}: path \"{path}\" is not /hook/ and 8 to 128 of A-Z a-z 0-9 . _ ~ -"
                )
            })?;
            built.pinned = Some(format!("{}{path}", self.prefix));
        }
        if entry.source == "Nexus" && entry.registry_host.is_empty() {
            built.warnings.push(format!(
                "{label}: without registryHost, a component of three segments is taken for one with a host"
            ));
        }
        built.endpoint = Some(Arc::new(Endpoint {
            name: entry.name.clone().unwrap_or_else(|| label.clone()),
            source,
            keys: Keys(keys),
            dead_letter,
            filter: entry.filter.clone(),
            targets,
            body_bytes: entry.limits.max_body_bytes,
            rate: Bucket::new(self.settings.limits.rate(&entry.limits)),
            auth,
            keep,
            inline_time: self.settings.inline_time(),
            allow: entry.allow_cidrs.clone(),
            pause: Pause::No,
        }));
        Ok(built)
    }
}

/// Issuers that the owner of the file trusts.
fn oidc(issuers: &[Issuer]) -> Result<Option<Arc<Oidc>>, String> {
    if issuers.is_empty() {
        return Ok(None);
    }
    let providers = issuers.iter().map(|issuer| {
        let validations = issuer.validations.iter();
        let validations = validations.map(|one| (one.cel.clone(), one.message.clone()));
        Provider::new(&issuer.url, &issuer.audience, validations.collect(), None)
    });
    Ok(Some(Arc::new(Oidc::new(providers.collect::<Result<_, _>>()?)?)))
}

fn key_items(entry: &Entry) -> Vec<(&str, Option<i64>)> {
    let mut items: Vec<(&str, Option<i64>)> =
        entry.key_path.iter().map(|path| (&**path, None)).collect();
    for item in &entry.key_paths {
        let (path, not_after) = match item {
            KeyItem::Path(path) => (path, None),
            KeyItem::Item { path, not_after } => (path, not_after.map(jiff::Timestamp::as_second)),
        };
        match items.iter_mut().find(|(known, _)| *known == path) {
            Some(known) => known.1 = not_after.or(known.1),
            None => items.push((path, not_after)),
        }
    }
    items
}

/// An endpoint that has no place in the table yet.
#[derive(Debug)]
pub(super) struct Built {
    /// File, path and end of every key.
    keys: Vec<(PathBuf, String, Option<i64>)>,
    pinned: Option<String>,
    warnings: Vec<String>,
    endpoint: Option<Arc<Endpoint>>,
}

impl Built {
    /// Takes its paths and prints them, as the original does, with `url` before them.
    pub(super) fn register(
        self,
        table: &mut Table,
        url: &str,
        out: &mut impl Write,
    ) -> Result<(), String> {
        let Some(endpoint) = self.endpoint else { return Ok(()) };
        let taken = |by: String| {
            format!("{} and {by} have the same path: give each a key of its own", endpoint.name)
        };
        for warning in self.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        for (file, path, not_after) in self.keys {
            table.add(path.clone(), &endpoint, not_after).map_err(taken)?;
            let source = endpoint.source.name();
            let _ = writeln!(out, "endpoint {source} using key {} at {url}{path}", file.display());
        }
        if let Some(path) = self.pinned {
            table.add(path, &endpoint, None).map_err(taken)?;
        }
        Ok(())
    }

    fn warn_about(&mut self, label: &str, path: &str, key: &[u8]) {
        if key.len() < SHORT_KEY {
            self.warnings.push(format!("{label}: key \"{path}\" has fewer than {SHORT_KEY} bytes"));
        }
        if key.ends_with(b"\n") {
            self.warnings.push(format!(
                "{label}: key \"{path}\" ends in a newline, which is part of its path; senders may leave it out"
            ));
        }
    }
}

fn pinned(path: &str) -> Option<String> {
    let id = path.strip_prefix("/hook/")?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    let dots = id.bytes().all(|byte| byte == b'.');
    ((8..=128).contains(&id.len()) && id.bytes().all(good) && !dots).then(|| path.to_owned())
}

/// The key's bytes and the file they are from. Even an absolute path starts at the directory,
/// unless there is nothing.
fn read_key(directory: &Path, path: &str) -> Result<(Vec<u8>, PathBuf), String> {
    let joined = clean(&directory.join(path.trim_start_matches('/')));
    let outcome = match std::fs::read(&joined) {
        Err(_) if path.starts_with('/') && !joined.exists() => {
            std::fs::read(path).map(|bytes| (bytes, PathBuf::from(path)))
        }
        outcome => outcome.map(|bytes| (bytes, joined)),
    };
    outcome.map_err(|error| format!("cannot load key from \"{path}\": {error}"))
}

/// When the last of these files was changed, in Unix seconds.
fn changed(files: &[(PathBuf, String, Option<i64>)]) -> Option<i64> {
    let changed = std::fs::metadata(&files.last()?.0).ok()?.modified().ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The path without `.` and, as far as the text tells, without `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(clean.components().next_back(), Some(Component::Normal(_))) =>
            {
                clean.pop();
            }
            Component::ParentDir if clean.has_root() => {}
            part => clean.push(part),
        }
    }
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("./gh.key", "gh.key")]
    #[case("a/../b//c", "b/c")]
    #[case("../a", "../a")]
    #[case("/a/../../b", "/b")]
    #[case("a/..", ".")]
    fn paths_are_cleaned(#[case] path: &str, #[case] clean_path: &str) {
        assert_eq!(clean(Path::new(path)), Path::new(clean_path));
    }

    #[test]
    fn keys_are_relative_to_the_file_even_when_absolute() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("k"), "inside").unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(elsewhere.path(), "outside").unwrap();
        let read = |path: &str| read_key(directory.path(), path).map(|(bytes, _)| bytes);
        assert_eq!(read("/k").unwrap(), b"inside");
        assert_eq!(read("./x/../k").unwrap(), b"inside");
        assert_eq!(read(elsewhere.path().to_str().unwrap()).unwrap(), b"outside");
        assert!(read("none").unwrap_err().starts_with("cannot load key from \"none\""));
    }

    #[test]
    fn pinned_paths_are_plain() {
        assert!(pinned("/hook/abcdefgh").is_some());
        for bad in ["/hook/short", "/health", "/hook/a/b/c/d/e", "/hook/........", "abcdefgh"] {
            assert_eq!(pinned(bad), None, "{bad}");
        }
    }
}
