//! Graphs as they are handed in: what is refused, and how it is named.

use lazyblob_solver::testing::Script;
use lazyblob_solver::{Edge, Error, Graph, Vertex, VertexName};

/// A vertex of this name with these inputs, whatever comes of it.
fn vertex(name: &str, inputs: &[&str]) -> Vertex<i64> {
    let mut vertex = Script::new(name, 1).vertex();
    vertex.inputs = inputs.iter().map(|input| Script::new(input, 1).edge()).collect();
    vertex
}

/// The path of the cycle that a graph is refused for, which must be one: each vertex has the next as input, the last is the
/// first, and no other is there twice.
fn cycle(vertices: &[Vertex<i64>]) -> Vec<VertexName> {
    let error = Graph::new(vertices.to_vec()).map(|_| ()).unwrap_err();
    let Error::Cycle { path } = error else { panic!("not a cycle: {error}") };
    let by_name: std::collections::HashMap<_, _> =
        vertices.iter().map(|vertex| (&vertex.name.digest, vertex)).collect();
    for pair in path.windows(2) {
        assert!(by_name[&pair[0].digest].inputs.iter().any(|input| input.vertex == pair[1].digest));
    }
    assert!(path.len() > 1 && path.first() == path.last());
    let different: std::collections::HashSet<_> = path.iter().collect();
    assert_eq!(different.len(), path.len() - 1);
    path
}

fn names(path: &[VertexName]) -> Vec<&str> {
    path.iter().map(|name| &*name.name).collect()
}

#[test]
fn a_cycle_is_refused_with_its_path() {
    let path = cycle(&[vertex("self", &["self"])]);
    assert_eq!(names(&path), ["self", "self"]);
    // What leads to a cycle, and what it leads to, is not of it.
    let graph = [
        vertex("above", &["a", "below"]),
        vertex("a", &["below", "b"]),
        vertex("b", &["below", "c"]),
        vertex("c", &["dead end", "a"]),
        vertex("dead end", &["below"]),
        vertex("below", &[]),
    ];
    let path = cycle(&graph);
    assert_eq!(path.len(), 4);
    assert!(!names(&path).iter().any(|name| ["above", "below", "dead end"].contains(name)));
    let error = Graph::new(graph).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("graph: cycle: ") && error.matches(" → ").count() == 3, "{error}");
}

#[test]
fn random_cycles_are_named() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let many = random.usize(2..30);
        let all: Vec<String> = (0..many).map(|at| at.to_string()).collect();
        let mut vertices: Vec<_> = (0..many)
            .map(|at| {
                let inputs: Vec<_> = (0..random.usize(..3)).map(|_| &*all[random.usize(..=at)]).collect();
                let inputs: Vec<_> = inputs.into_iter().filter(|input| *input != all[at]).collect();
                vertex(&all[at], &inputs)
            })
            .collect();
        let known = Graph::new(vertices.clone()).unwrap();
        let order: Vec<_> = known.vertices().map(|vertex| vertex.name.digest.clone()).collect();
        let place = |digest: &oci_spec::image::Digest| order.iter().position(|at| at == digest).unwrap();
        for vertex in known.vertices() {
            let below = vertex.inputs.iter().map(|input| place(&input.vertex)).max();
            assert!(below.is_none_or(|below| below < place(&vertex.name.digest)), "inputs come first");
        }
        // From any vertex back to what has it, however far above.
        if let Some((above, below)) = vertices
            .iter()
            .find_map(|above| Some((above.name.digest.clone(), above.inputs.first()?.vertex.clone())))
        {
            let at = vertices.iter().position(|vertex| vertex.name.digest == below).unwrap();
            vertices[at].inputs.push(Edge::first(above));
            cycle(&vertices);
        }
    }
}

#[test]
fn a_long_cycle_is_named_in_full_and_told_in_short() {
    let name = |at: usize| (at % 100_000).to_string();
    let vertices: Vec<_> = (0..100_000).map(|at| vertex(&name(at), &[&name(at + 1)])).collect();
    let path = cycle(&vertices);
    assert_eq!(path.len(), 100_001);
    let error = Error::Cycle { path }.to_string();
    assert!(error.contains(" → … 99981 more … → ") && error.len() < 4000, "{error}");
}

#[test]
fn what_is_missing_or_there_twice_is_named() {
    let error = Graph::new([vertex("a", &["b", "c"]), vertex("b", &[])]).map(|_| ()).unwrap_err();
    let Error::MissingInput { vertex: whose, input: 1, missing } = error else { panic!("{error}") };
    assert_eq!((&*whose.name, missing), ("a", Script::new("c", 1).edge()));

    let twice = Graph::new([vertex("a", &["b"]), vertex("b", &[]), vertex("a", &["b"])]).unwrap();
    assert_eq!(twice.len(), 2);
    assert!(twice.vertex(&Script::new("b", 1).digest()).is_some());
    assert!(twice.vertex(&Script::new("c", 1).digest()).is_none());
    for other in [vertex("a", &[]), vertex("a", &["b"]).ignoring_cache()] {
        let error = Graph::new([vertex("a", &["b"]), vertex("b", &[]), other]).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Invalid { vertex, .. } if vertex.starts_with("a (")), "{error}");
    }
    assert!(Graph::<i64>::new([]).unwrap().is_empty());
}
