//! Builds a graph of one's own op twice, the second time from the cache, and draws what became of each vertex.
//!
//! `cargo run --example solve_graph` needs nothing but the checkout; Graphviz (`dot -Tsvg`) makes pictures of what it prints.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use lazyblob::remote::digest;
use lazyblob::solver::{
    CacheIndex, CacheMap, Edge, Graph, JobOptions, LoadCx, LoadError, MemoryKeys, Op, OpCx, OpError,
    ResultId, ResultStore, Settings, Solver, StoreError, StoredResult, Vertex,
};

/// Joins a word and its inputs: results are strings.
struct Join(&'static str, usize);

#[async_trait]
impl Op<String> for Join {
    async fn cache_map(&self, _: &OpCx<String>, _: usize) -> Result<CacheMap<String>, OpError> {
        Ok(CacheMap::new(digest::sha256(format!("join {}", self.0).as_bytes()), self.1))
    }

    async fn exec(&self, _: &OpCx<String>, inputs: Vec<String>) -> Result<Vec<String>, OpError> {
        println!("// runs: {}", self.0);
        Ok(vec![format!("{}({})", self.0, inputs.join(", "))])
    }
}

/// Keeps strings; where they stand is their name.
#[derive(Default)]
struct Strings(Mutex<Vec<String>>);

#[async_trait]
impl ResultStore<String> for Strings {
    async fn save(
        &self,
        result: &String,
        created_at: Option<SystemTime>,
    ) -> Result<StoredResult, StoreError> {
        let mut strings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        strings.push(result.clone());
        let id = ResultId::new((strings.len() - 1).to_string());
        Ok(StoredResult { id, created_at: created_at.unwrap_or_else(SystemTime::now) })
    }

    async fn load(&self, _: &LoadCx, id: &ResultId) -> Result<String, LoadError> {
        let at: usize = id.as_str().parse().map_err(LoadError::gone)?;
        let strings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        strings.get(at).cloned().ok_or_else(|| LoadError::gone("no such string"))
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        Ok(self.load(&LoadCx::detached(), id).await.is_ok())
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, _: bool) -> Result<Vec<String>, LoadError> {
        Ok(vec![self.load(cx, id).await?])
    }
}

fn vertex(word: &'static str, inputs: &[&Vertex<String>]) -> Vertex<String> {
    let inputs: Vec<_> = inputs.iter().map(|input| Edge::first(input.name.digest.clone())).collect();
    Vertex::new(digest::sha256(word.as_bytes()), word, Arc::new(Join(word, inputs.len())), inputs)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = CacheIndex::new("strings", Arc::new(MemoryKeys::new()), Arc::new(Strings::default()));
    let solver = Solver::new(Arc::new(cache), Settings::default());
    for _ in 0..2 {
        let base = vertex("base", &[]);
        let (left, right) = (vertex("left", &[&base]), vertex("right", &[&base]));
        let top = vertex("top", &[&left, &right]);
        let wanted = Edge::first(top.name.digest.clone());

        let job = solver.job(JobOptions::default()).await?;
        job.load(Graph::new([base, left, right, top])?).await?;
        let built = job.build(&wanted).await?;
        println!("// {}: {}", if built.cached { "from the cache" } else { "computed" }, built.result);
        println!("{}", job.graph().await?.to_dot());
        job.discard();
    }
    solver.close().await;
    Ok(())
}
