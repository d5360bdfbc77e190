//! What happened to users of other systems, each as a scenario that Trireme is put through.
//!
//! One file a story, named after the thread in which it is told. The world is the simulated one,
//! with nothing going wrong but what the story says; every promise is checked on the way.

mod ansible_12735;
mod kured_137;
mod latest_rollback;
mod nomad_14200;
mod nomad_3525;
mod omicron_10323;
mod omicron_9044;
mod salt_66249;
mod stage;
mod tiup_1026;
