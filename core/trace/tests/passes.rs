//! Every pass on text: what goes in, and what must come out. The pass is named by the end of the file's name.

use larder_trace::opt::{Passes, hoist, optimise};
use larder_trace::text;
use std::path::Path;

fn check(path: &Path) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let pass = name.rsplit('.').next().unwrap();
    let whole = std::fs::read_to_string(path).unwrap();
    let (input, expected) = whole.split_once("\n---\n").unwrap();
    let mut passes = Passes::NONE;
    *passes
        .switch(pass)
        .unwrap_or_else(|| panic!("{name}: no pass is called so")) = true;
    let mut tree = text::parse(input).unwrap_or_else(|why| panic!("{name}: {why}"));
    let untouched = text::body(&tree, &[]);
    optimise(&mut tree, 0, &passes);
    let before = if passes.hoist { hoist(&tree) } else { vec![] };
    let found = text::body(&tree, &before);
    assert_eq!(found.trim(), expected.trim(), "{name} gives\n{found}");
    assert_ne!(found, untouched, "{name}: the pass changes nothing");
    let mut alone = text::parse(input).unwrap();
    optimise(&mut alone, 0, &Passes::NONE);
    assert_eq!(
        text::body(&alone, &[]),
        untouched,
        "{name}: without its switch the pass ran"
    );
}

#[test]
fn passes_give_what_the_text_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes");
    let mut seen: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        check(&path);
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        seen.push(name.rsplit('.').next().unwrap().to_string());
    }
    for pass in Passes::NAMES {
        assert!(seen.iter().any(|s| s == pass), "{pass} has no text file");
    }
}
