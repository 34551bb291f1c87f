//! The image: what it is built from, and whom it runs as.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{list, repository};

pub(super) const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");
const DOCKERIGNORE: &str = include_str!("../../.dockerignore");

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<(&'static str, String)> {
    let lines = DOCKERFILE.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let text: &'static str = text.leak();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name, rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// The arguments of each instruction of that name.
pub(super) fn each(name: &str) -> Vec<String> {
    let all = instructions().into_iter();
    all.filter(|(known, _)| *known == name).map(|(_, rest)| rest).collect()
}

/// What is copied from the repository, and to where.
fn copied() -> Vec<(String, String)> {
    let mut copied = Vec::new();
    for rest in each("COPY").iter().filter(|rest| !rest.starts_with("--from")) {
        let mut words: Vec<&str> = rest.split(' ').collect();
        let to = words.pop().unwrap();
        copied.extend(words.into_iter().map(|from| (from.to_owned(), to.to_owned())));
    }
    copied
}

#[test]
fn what_the_image_is_built_from_is_there_and_let_through() {
    let mut patterns = DOCKERIGNORE.lines();
    assert_eq!(patterns.next(), Some("*"), "nothing is let through but what is named");
    let let_through: Vec<&str> = patterns.map(|line| line.strip_prefix('!').unwrap()).collect();
    let copied = copied();
    let below = |path: &str, folder: &str| Path::new(path).starts_with(folder);
    for (from, _) in &copied {
        assert!(repository().join(from).exists(), "{from} is copied and does not exist");
        assert!(
            let_through.iter().any(|path| below(from, path)),
            "{from} is not let through"
        );
    }
    for path in let_through {
        assert!(copied.iter().any(|(from, _)| below(path, from)), "nobody copies {path}");
    }
    // What the manifest names has to be there when it is built.
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    for path in manifest.lines().filter_map(|line| line.strip_prefix("path = ")) {
        let path = path.trim_matches('"');
        assert!(copied.iter().any(|(from, _)| below(path, from)), "{path} is not copied");
    }
}

#[test]
fn the_image_runs_a_worker_as_a_user_with_a_number_that_is_not_roots() {
    let user: u32 = each("USER").last().unwrap().parse().expect("a number");
    assert!(user > 0);
    assert!(each("RUN").iter().any(|run| run.contains(&format!("--uid {user} "))));
    let entry = list(each("ENTRYPOINT").last().unwrap());
    let (script, _) = copied()
        .into_iter()
        .find(|(_, to)| to.ends_with(&format!("/{}", entry[0])))
        .unwrap();
    let mode = std::fs::metadata(repository().join(&script))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111, "{script} cannot be executed");
    assert_eq!(list(each("CMD").last().unwrap()), ["worker"]);
}
