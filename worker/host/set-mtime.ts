import { setTimes } from './syscalls.ts'

const BILLION = 1_000_000_000n

/** Sets the time of a file or folder, as `mtimeNs` of its stat has it. Rounded down, so that what is left counts forward from a time before 1970 too. */
export function setMtime(path: string, mtimeNs: bigint): void {
  const nanoseconds = ((mtimeNs % BILLION) + BILLION) % BILLION
  setTimes(Buffer.from(path), Number((mtimeNs - nanoseconds) / BILLION), Number(nanoseconds))
}
