//! The volumes of a pod as directories of this machine.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, PersistentVolume, PersistentVolumeClaim, Pod,
    Volume, VolumeProjection,
};
use kube::{Api, Client, ResourceExt};
use std::os::unix::fs::PermissionsExt;

use super::fields;
use super::mounts::{PathMap, tidy};
use super::sources::{Source, SourceError, Sources, Values};

/// Why a volume is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("volume \"{volume}\": {source}")]
    Source { volume: String, source: SourceError },
    #[error("volume \"{volume}\": {reason}")]
    Unusable { volume: String, reason: String },
    #[error("volume \"{volume}\": {source}")]
    Io { volume: String, source: io::Error },
    #[error("persistentvolumeclaim \"{0}\" is not bound")]
    Unbound(String),
    #[error("{0}")]
    Api(Box<kube::Error>),
}

/// The volumes of a pod, ready to be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volumes {
    places: BTreeMap<String, Place>,
}

#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    /// A claim that may be written to: what a home is made of.
    writable_claim: bool,
}

/// What the volumes are made from.
pub(crate) struct Maker<'a> {
    pub(crate) client: &'a Client,
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    /// The pod's own directory.
    pub(crate) directory: &'a Path,
    pub(crate) sources: &'a Sources,
}

impl Maker<'_> {
    /// Makes all volumes of the pod.
    pub(crate) async fn make(&self) -> Result<Volumes, MountError> {
        let mut places = BTreeMap::new();
        for volume in self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            places.insert(volume.name.clone(), self.one(volume).await?);
        }
        Ok(Volumes { places })
    }

    async fn one(&self, volume: &Volume) -> Result<Place, MountError> {
        if let Some(claim) = &volume.persistent_volume_claim {
            let path = self.claim(&claim.claim_name).await?;
            return Ok(Place { path, writable_claim: !claim.read_only.unwrap_or(false) });
        }
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            let kind = host.type_.as_deref().unwrap_or_default();
            check_host_path(&path, kind).map_err(|reason| unusable(volume, reason))?;
            return Ok(Place { path, writable_claim: false });
        }
        let path =
            self.directory.join("volumes").join(safe(&volume.name).ok_or_else(|| {
                unusable(volume, "its name is not usable as a directory".to_owned())
            })?);
        let io = |source| MountError::Io { volume: volume.name.clone(), source };
        make_directory(&path).map_err(io)?;
        let files = self.files(volume).await?;
        for file in files {
            file.write(&path).map_err(io)?;
        }
        Ok(Place { path, writable_claim: false })
    }

    async fn claim(&self, name: &str) -> Result<PathBuf, MountError> {
        let api_error = |error| MountError::Api(Box::new(error));
        let namespace = self.pod.namespace().unwrap_or_default();
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &namespace);
        let claim = claims.get(name).await.map_err(api_error)?;
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let Some(volume) = volume.filter(|_| phase == Some("Bound")) else {
            return Err(MountError::Unbound(name.to_owned()));
        };
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let volume = volumes.get(&volume).await.map_err(api_error)?;
        let path = place_of(&volume).ok_or_else(|| MountError::Unusable {
            volume: volume.name_any(),
            reason: "only volumes of type hostPath and local are supported".to_owned(),
        })?;
        make_directory(&path)
            .map_err(|source| MountError::Io { volume: volume.name_any(), source })?;
        Ok(path)
    }

    async fn files(&self, volume: &Volume) -> Result<Vec<VolumeFile>, MountError> {
        let name = &volume.name;
        if volume.empty_dir.is_some() {
            return Ok(Vec::new());
        }
        if let Some(secret) = &volume.secret {
            let source = secret.secret_name.as_deref().unwrap_or_default();
            let optional = secret.optional.unwrap_or(false);
            let values = self.values(name, Source::Secret, source, optional).await?;
            return pick(name, values, secret.items.as_deref(), secret.default_mode, optional);
        }
        if let Some(map) = &volume.config_map {
            let optional = map.optional.unwrap_or(false);
            let values = self.values(name, Source::ConfigMap, &map.name, optional).await?;
            return pick(name, values, map.items.as_deref(), map.default_mode, optional);
        }
        if let Some(downward) = &volume.downward_api {
            return self.downward(name, downward.items.as_deref(), downward.default_mode);
        }
        if let Some(projected) = &volume.projected {
            let mut files = Vec::new();
            for source in projected.sources.iter().flatten() {
                files.extend(self.projection(name, source, projected.default_mode).await?);
            }
            return Ok(files);
        }
        Err(unusable(volume, "this type of volume is not supported on this node".to_owned()))
    }

    async fn projection(
        &self,
        volume: &str,
        source: &VolumeProjection,
        mode: Option<i32>,
    ) -> Result<Vec<VolumeFile>, MountError> {
        if let Some(secret) = &source.secret {
            let optional = secret.optional.unwrap_or(false);
            let values = self.values(volume, Source::Secret, &secret.name, optional).await?;
            return pick(volume, values, secret.items.as_deref(), mode, optional);
        }
        if let Some(map) = &source.config_map {
            let optional = map.optional.unwrap_or(false);
            let values = self.values(volume, Source::ConfigMap, &map.name, optional).await?;
            return pick(volume, values, map.items.as_deref(), mode, optional);
        }
        if let Some(downward) = &source.downward_api {
            return self.downward(volume, downward.items.as_deref(), mode);
        }
        Err(MountError::Unusable {
            volume: volume.to_owned(),
            reason: "this type of projection is not supported on this node".to_owned(),
        })
    }

    async fn values(
        &self,
        volume: &str,
        kind: Source,
        name: &str,
        optional: bool,
    ) -> Result<Values, MountError> {
        let values = self.sources.all(kind, name, optional).await;
        values
            .map(Option::unwrap_or_default)
            .map_err(|source| MountError::Source { volume: volume.to_owned(), source })
    }

    fn downward(
        &self,
        volume: &str,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: Option<i32>,
    ) -> Result<Vec<VolumeFile>, MountError> {
        let unusable = |reason| MountError::Unusable { volume: volume.to_owned(), reason };
        let spec = self.pod.spec.as_ref();
        items
            .unwrap_or_default()
            .iter()
            .map(|item| {
                let value = match (&item.field_ref, &item.resource_field_ref) {
                    (Some(at), _) => fields::field(self.pod, self.address, &at.field_path),
                    (None, Some(at)) => spec
                        .and_then(|spec| {
                            let name = at.container_name.as_ref()?;
                            spec.containers.iter().find(|container| container.name == *name)
                        })
                        .ok_or_else(|| "the container of a resourceFieldRef is unknown".to_owned())
                        .and_then(|container| fields::resource(container, &at.resource)),
                    (None, None) => Err("an item has no source".to_owned()),
                };
                let content = value.map_err(unusable)?.into_bytes();
                VolumeFile::new(&item.path, item.mode.or(mode), content).map_err(unusable)
            })
            .collect()
    }
}

fn unusable(volume: &Volume, reason: String) -> MountError {
    MountError::Unusable { volume: volume.name.clone(), reason }
}

/// Where a persistent volume of this machine is.
pub(crate) fn place_of(volume: &PersistentVolume) -> Option<PathBuf> {
    let spec = volume.spec.as_ref()?;
    let host = spec.host_path.as_ref().map(|host| &host.path);
    let path = host.or(spec.local.as_ref().map(|local| &local.path))?;
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

fn check_host_path(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("hostPath {shown} is not absolute"));
    }
    let fits = match kind {
        "" => true,
        "DirectoryOrCreate" => make_directory(path).is_ok(),
        "Directory" => path.is_dir(),
        "FileOrCreate" => std::fs::File::options().append(true).create(true).open(path).is_ok(),
        "File" => path.is_file(),
        _ => return Err(format!("hostPath type {kind} is not supported on this node")),
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {shown} is not a {kind}")) }
}

/// One file that a volume is made of. Not printable: it may be a secret.
struct VolumeFile {
    path: PathBuf,
    mode: u32,
    content: Vec<u8>,
}

impl VolumeFile {
    fn new(path: &str, mode: Option<i32>, content: Vec<u8>) -> Result<Self, String> {
        let relative = below(path).ok_or_else(|| format!("path {path:?} leaves the volume"))?;
        let mode = mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644) & 0o777;
        Ok(Self { path: relative, mode, content })
    }

    fn write(self, volume: &Path) -> io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = volume.join(&self.path);
        if let Some(parent) = path.parent() {
            make_directory(parent)?;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&self.content)?;
        file.set_permissions(std::fs::Permissions::from_mode(self.mode))
    }
}

/// The files of a Secret or ConfigMap: all keys, or the ones that the items name.
fn pick(
    volume: &str,
    mut values: Values,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Vec<VolumeFile>, MountError> {
    let unusable = |reason| MountError::Unusable { volume: volume.to_owned(), reason };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let files = values.into_iter().map(|(key, value)| VolumeFile::new(&key, mode, value));
        return files.collect::<Result<_, _>>().map_err(unusable);
    };
    let mut files = Vec::new();
    for item in items {
        match values.remove(&item.key) {
            Some(value) => {
                let file = VolumeFile::new(&item.path, item.mode.or(mode), value);
                files.push(file.map_err(unusable)?);
            }
            None if optional => {}
            None => {
                return Err(unusable(format!("references non-existent key: {}", item.key)));
            }
        }
    }
    Ok(files)
}

impl Volumes {
    /// Where the mounts of a container are, and its home: the first claim it may write to.
    pub(crate) fn mounts(
        &self,
        container: &Container,
        lookup: impl Fn(&str) -> String,
    ) -> Result<(PathMap, Option<PathBuf>), MountError> {
        let mut mounts = Vec::new();
        let mut home = None;
        for mount in container.volume_mounts.iter().flatten() {
            let unusable = |reason: &str| MountError::Unusable {
                volume: mount.name.clone(),
                reason: reason.to_owned(),
            };
            let place =
                self.places.get(&mount.name).ok_or_else(|| unusable("is not in the pod"))?;
            let below_it = match (&mount.sub_path, &mount.sub_path_expr) {
                (Some(path), _) if !path.is_empty() => path.clone(),
                (_, Some(expression)) => lookup(expression),
                _ => String::new(),
            };
            let path = if below_it.is_empty() {
                place.path.clone()
            } else {
                let relative = below(&below_it)
                    .ok_or_else(|| unusable("subPath must stay within the volume"))?;
                let path = place.path.join(relative);
                if !path.exists() {
                    make_directory(&path)
                        .map_err(|source| MountError::Io { volume: mount.name.clone(), source })?;
                }
                path
            };
            if tidy(&mount.mount_path).is_empty() {
                return Err(unusable("the root directory cannot be a mount path"));
            }
            if home.is_none() && place.writable_claim && !mount.read_only.unwrap_or(false) {
                home = Some(path.clone());
            }
            mounts.push((mount.mount_path.clone(), path));
        }
        Ok((PathMap::new(mounts), home))
    }
}

/// Makes the links for mounts inside other mounts. What a user put there is never replaced.
pub(crate) fn link_nested(paths: &PathMap) -> io::Result<()> {
    for (link, target) in paths.links() {
        match link.symlink_metadata() {
            Ok(data) if data.is_symlink() => {
                if std::fs::read_link(&link)? == target {
                    continue;
                }
                std::fs::remove_file(&link)?;
            }
            // An empty directory is what a mount would have left there.
            Ok(data) if data.is_dir() => {
                if std::fs::remove_dir(&link).is_err() {
                    continue;
                }
            }
            Ok(_) => continue,
            Err(_) => {
                if let Some(parent) = link.parent() {
                    make_directory(parent)?;
                }
            }
        }
        std::os::unix::fs::symlink(&target, &link)?;
    }
    Ok(())
}

/// A relative path that stays below where it starts.
fn below(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let stays =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (stays && !path.as_os_str().is_empty()).then(|| path.to_owned())
}

/// A name that is one plain part of a path.
pub(crate) fn safe(name: &str) -> Option<&str> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    plain.then_some(name)
}

/// Makes a directory that only this user can enter, and those above it.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_volume() {
        for path in ["..", "a/../../b", "/etc", ""] {
            assert_eq!(below(path), None, "{path}");
        }
        assert_eq!(below("a/./b"), Some("a/./b".into()));
        assert_eq!((safe("a"), safe("a/b"), safe(".."), safe("")), (Some("a"), None, None, None));
    }

    #[test]
    fn a_link_takes_the_place_of_an_empty_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        let (home, data) = (dir.path().join("home"), dir.path().join("data"));
        make_directory(&home.join("full/file")).unwrap();
        make_directory(&home.join("empty")).unwrap();
        make_directory(&data).unwrap();
        let paths = PathMap::new([
            ("/h".to_owned(), home.clone()),
            ("/h/full".to_owned(), data.clone()),
            ("/h/empty".to_owned(), data.clone()),
            ("/h/new/deep".to_owned(), data.clone()),
        ]);
        for _ in 0..2 {
            link_nested(&paths).unwrap();
            assert!(!home.join("full").is_symlink());
            assert_eq!(std::fs::read_link(home.join("empty")).unwrap(), data);
            assert_eq!(std::fs::read_link(home.join("new/deep")).unwrap(), data);
        }
    }
}
