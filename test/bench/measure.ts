import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** One way of doing the job: `run` is timed, `undo` is not. */
export interface Contender {
  name: string
  run(round: number): Promise<void>
  undo?(round: number): Promise<void>
}

export interface Figures {
  name: string
  medianMs: number
  p95Ms: number
}

/**
 * Times all contenders round by round, so that a noisy moment meets each of them, and from last to first in every other
 * round, so that none always follows the same one. The first round warms up. What one wrote is on the disk before the
 * next begins. `prepare` makes what all of a round share and is not timed.
 */
export async function interleave(
  contenders: readonly Contender[],
  rounds: number,
  prepare?: (round: number) => Promise<void>,
  isWarm = false,
): Promise<Figures[]> {
  const samples = new Map<string, number[]>(contenders.map(({ name }) => [name, []]))
  for (let round = isWarm ? 1 : 0; round <= rounds; round++) {
    await prepare?.(round)
    for (const { name, run, undo } of round % 2 ? contenders : contenders.toReversed()) {
      await execute('sync')
      const begin = performance.now()
      await run(round)
      const took = performance.now() - begin
      await undo?.(round)
      if (round > 0) samples.get(name)?.push(took)
    }
  }
  return [...samples].map(([name, values]) => figures(name, values))
}

export function figures(name: string, values: readonly number[]): Figures {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  return { name, medianMs: at(0.5), p95Ms: at(0.95) }
}

/** A table with each median as a share of the peer's. */
export function table(all: readonly Figures[], peerName: string): string {
  const peer = all.find(({ name }) => name === peerName)?.medianMs ?? Number.NaN
  const width = Math.max(...all.map(({ name }) => name.length))
  const row = (name: string, ...cells: string[]) => name.padEnd(width) + cells.map(cell => cell.padStart(12)).join('')
  return [
    row('', 'median', 'p95', 'of peer'),
    ...all.map(({ name, medianMs, p95Ms }) =>
      row(name, `${medianMs.toFixed(1)} ms`, `${p95Ms.toFixed(1)} ms`, `${(medianMs / peer).toFixed(2)}×`),
    ),
  ].join('\n')
}
