//! A few minutes of what `make chaos` does for longer: whole fleets of real processes under fire.

mod fire;
