//! What services use: two samples, a moment apart, of every process and container.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use trireme_proto::id::ServiceId;
use trireme_proto::query::{InstanceUse, NodeUse, PARTS_MAX};

use super::process;
use crate::host::unit::Kind;
use crate::host::{Host as _, HostError, Machine, blocking, procfs};

/// Time between the samples: long against the clock ticks that processor time is counted in, short
/// for whoever waits.
const SAMPLE_PAUSE: Duration = Duration::from_millis(400);

/// What one process or container had used when it was looked at.
#[derive(Debug, Clone)]
pub(in crate::host) struct Sample {
    /// What is known of it but for the processor.
    pub(in crate::host) used: InstanceUse,
    /// Processor time of each of its processes, or of all together.
    pub(in crate::host) cpu: BTreeMap<(u32, u64), Duration>,
    /// When it was looked at.
    pub(in crate::host) at: Instant,
}

type Samples = BTreeMap<ServiceId, Result<Vec<Sample>, HostError>>;

impl Machine {
    /// Finds out what services use of the host; what does not run is left out.
    pub async fn used(&self, services: &[ServiceId]) -> NodeUse {
        let first = self.samples(services).await;
        sleep(SAMPLE_PAUSE).await;
        let second = self.samples(services).await;
        let mut found = NodeUse::default();
        for (service, samples) in second {
            let before = match first.get(&service) {
                Some(Ok(before)) => before.as_slice(),
                Some(Err(_)) | None => &[],
            };
            match samples {
                Ok(samples) => {
                    let each = samples.into_iter().take(PARTS_MAX);
                    found.services.insert(service, each.map(|one| compare(before, one)).collect());
                }
                Err(error) => {
                    found.failed.insert(service, error.to_string());
                }
            }
        }
        found
    }

    async fn samples(&self, services: &[ServiceId]) -> Samples {
        let units = services.iter().filter_map(|service| Some((service, self.unit(service)?)));
        let units: Vec<_> = units.collect();
        let needs_table = units.iter().any(|(_, unit)| unit.kind != Kind::Compose);
        let table = if needs_table { blocking(procfs::table).await } else { Vec::new() };
        let each = units.into_iter().map(async |(service, unit)| {
            let samples = match unit.kind {
                Kind::Process | Kind::Systemd => {
                    Ok(process::sample(service, &self.observe(service), &table))
                }
                Kind::Compose => self.docker().samples(&unit.dir, &self.node()).await,
            };
            (service.clone(), samples)
        });
        join_all(each).await.into_iter().collect()
    }
}

/// Returns what one uses, given what all had used before.
fn compare(before: &[Sample], now: Sample) -> InstanceUse {
    let Some(then) = before.iter().find(|one| one.used.id == now.used.id) else {
        // It was started in between: what it has used so far it used since.
        let used = now.cpu.values().sum();
        return InstanceUse { cpu_millicores: millicores(used, SAMPLE_PAUSE), ..now.used };
    };
    let used = now.cpu.iter().map(|(process, used)| {
        used.saturating_sub(then.cpu.get(process).copied().unwrap_or_default())
    });
    let cpu_millicores = millicores(used.sum(), now.at.duration_since(then.at));
    InstanceUse { cpu_millicores, ..now.used }
}

fn millicores(used: Duration, within: Duration) -> u64 {
    let millis = used.as_micros() * 1000 / within.as_micros().max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, cpu: &[(u32, u64)]) -> Sample {
        let used = InstanceUse {
            name: "web".to_owned(),
            id: "7".to_owned(),
            cpu_millicores: 0,
            memory_bytes: 1,
            memory_limit_bytes: None,
            received_bytes: None,
            sent_bytes: None,
            processes: 1,
        };
        let cpu = cpu.iter().map(|(pid, ms)| ((*pid, 0), Duration::from_millis(*ms)));
        Sample { used, cpu: cpu.collect(), at }
    }

    /// DVN-06: processor is what was used between the samples, by whoever was there.
    #[test]
    fn dvn_06_processor_time_is_that_between_two_samples() {
        let at = Instant::now();
        let later = at + Duration::from_millis(500);
        let cpu = |before: &[(u32, u64)], now: &[(u32, u64)]| {
            compare(&[sample(at, before)], sample(later, now)).cpu_millicores
        };
        assert_eq!(cpu(&[(7, 1000)], &[(7, 1250)]), 500);
        // A child that is new counts whole, one that has gone not at all, and nothing is negative.
        assert_eq!(cpu(&[(7, 1000), (8, 900)], &[(7, 1000), (9, 1000)]), 2000);
        assert_eq!(cpu(&[(7, 1000)], &[(7, 10)]), 0);
        let fresh = compare(&[], sample(at, &[(7, 400)]));
        assert_eq!(fresh.cpu_millicores, 1000);
    }
}
