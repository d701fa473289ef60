//! Build definitions (LLB) on standard output: what `benches/builds` runs, and how definitions are written in Rust.
//!
//! ```text
//! graphs chain N            N files, each made on top of the last tree
//! graphs fan N              N trees of one file each, merged
//! graphs exec IMAGE SALT    one command on an image; another SALT is another command
//! graphs image IMAGE        an image and nothing else
//! ```

use std::io::Write as _;

use lazyblob::worker::llb::{self, Files, Mkfile, State};

fn file(number: usize) -> Files {
    Files::new().then(Mkfile::new(format!("/file-{number}"), 0o644, format!("file {number}\n")))
}

fn graph(words: &[&str]) -> Option<State> {
    Some(match *words {
        ["chain", count] => (0..count.parse().ok()?).fold(llb::scratch(), |below, at| below.file(file(at))),
        ["fan", count] => {
            let trees: Vec<State> =
                (0..count.parse().ok()?).map(|at| llb::scratch().file(file(at))).collect();
            llb::merge(&trees)
        }
        ["exec", image, salt] => llb::image(image).run(["/bin/sh", "-c", "echo $0 > /made", salt]).root(),
        ["image", image] => llb::image(image),
        _ => return None,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let graph = graph(&words).ok_or("usage: graphs chain N | fan N | exec IMAGE SALT | image IMAGE")?;
    std::io::stdout().write_all(&graph.marshal(&llb::host_platform()))?;
    Ok(())
}
