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

#[test]
fn an_input_borrows_when_an_object_from_memory_comes_round_to_it() {
    let text = "
        in a abox float
        in b bbox float
        in c cbox float
        in d dbox float
        in i ibox int
        in list ptr
        items = items list
        o = load items i
        live a
    ";
    let mut tree = larder_trace::text::parse(text).unwrap();
    let load = tree.insts.iter().position(|i| i.op == larder_trace::Op::Load).unwrap();
    let (loaded, none) = (larder_trace::Ref(load as u32), larder_trace::Ref::NONE);
    let of = |tree: &larder_trace::Tree, k: usize| tree.inputs[k].refs;
    let [a, b, c] = [of(&tree, 0), of(&tree, 1), of(&tree, 2)];
    // b gets what was loaded, a what b had; c and d change places, and d may lose its object.
    let end = |changed: Vec<(u32, larder_trace::Ref)>| {
        larder_trace::End::Head(
            changed
                .into_iter()
                .map(|(k, object)| (k, [a[0], object, none, none]))
                .collect(),
        )
    };
    tree.traces[0].end = end(vec![(2, none), (3, c[1])]);
    assert_eq!(&tree.borrowing()[..4], [false; 4], "the frame owns what it brought");
    tree.traces[0].end = end(vec![(0, b[1]), (1, loaded), (2, of(&tree, 3)[1]), (3, c[1])]);
    assert_eq!(&tree.borrowing()[..4], [true, true, false, false]);
    let inputs = tree.borrowing();
    assert!(tree.is_borrowed(loaded, &inputs) && !tree.is_borrowed(none, &inputs) && !tree.is_borrowed(c[1], &inputs));
}
