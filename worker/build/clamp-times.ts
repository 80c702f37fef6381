import { run } from '../host/run.ts'

const CLAMP_MS = 15 * 60_000

/** SOURCE_DATE_EPOCH: what is younger gets that time (seconds since 1970), links themselves too. */
export async function clampTimes(folder: string, epoch: number, signal: AbortSignal): Promise<void> {
  const touch = ['touch', '-c', '-h', '-d', `@${epoch}`, '--', '{}', '+']
  await run('find', [folder, '-newermt', `@${epoch}`, '-exec', ...touch], { timeoutMs: CLAMP_MS, signal })
}
