//! The root on disk, and what several processes on it tell each other.
