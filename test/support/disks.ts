import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { unmountBelow } from '#worker/host/mount.ts'

const MEBIBYTE = 1024 * 1024
const MAKERS = {
  ext4: ['mkfs.ext4', '-q', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
  btrfs: ['mkfs.btrfs', '-q'],
} as const
export type DiskKind = keyof typeof MAKERS

/** A file with a filesystem in it; btrfs takes 128 MiB or more. `more`: further options of its mkfs. */
export function makeDiskFile(path: string, kind: DiskKind, mebibytes: number, more: readonly string[] = []): void {
  writeFileSync(path, '')
  truncateSync(path, mebibytes * MEBIBYTE)
  const [program, ...options] = MAKERS[kind]
  execFileSync(program, [...options, ...more, path])
}

/** Makes a folder at `place` and mounts a disk file there. It is gone, with all that is mounted in it, after `unmountDisk`. */
export function mountDisk(file: string, place: string, options = 'rw'): void {
  mkdirSync(place)
  execFileSync('mount', ['-o', `loop,${options}`, file, place])
}

export async function unmountDisk(place: string): Promise<void> {
  await unmountBelow(place)
  rmSync(place, { recursive: true })
}
