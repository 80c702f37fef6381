import { readFileSync } from 'node:fs'
import { systemClock } from '#shared/ports/clock.ts'
import { bootWithBusybox } from '#test/support/slipway.ts'

const SETTLE_MS = 10_000

/** Resident memory of the control plane and the agent after a build, ten seconds at rest. */
export async function memoryBench(): Promise<void> {
  await using slipway = await bootWithBusybox('benchmem')
  await systemClock.sleep(SETTLE_MS)
  for (const { name, pid } of [slipway.controlPlane, slipway.agent, slipway.nats]) {
    console.log(`${name.padEnd(20)}${residentMegabytes(pid()).toFixed(0).padStart(6)} MB`)
  }
}

function residentMegabytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1000
}
