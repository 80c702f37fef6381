import { spawn } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { SlipwayError } from '#shared/errors.ts'
import { asKernelError } from './kernel-error.ts'
import { inNetns, isNetns } from './netns.ts'
import { ioctl, MS, mount, NS_GET_USERNS } from './syscalls.ts'

/**
 * User namespaces. Only a process of one thread can make or enter one, so a small program does, and is gone once something else
 * holds what it made.
 */

/** How many ids a container has of its own: all that programs and images count on. */
export const IDS = 65_536
const DEADLINE_MS = 5000

interface IdRange {
  inside: number
  outside: number
  count: number
}

/** Calls `task` with the process id of whoever is in a new user namespace (and network namespace) with these ids. */
async function withUserns<T>(
  ranges: readonly IdRange[],
  more: readonly string[],
  task: (pid: number) => T,
): Promise<T> {
  const child = spawn('unshare', ['--user', ...more, '--', 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] })
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>()
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(refused('It took too long.')), DEADLINE_MS)
  child.once('error', error => reject(refused(error.message)))
  child.once('close', () => {
    reject(refused('unshare failed.'))
    end()
  })
  child.stdin.on('error', () => {}) // It ended: `close` says so.
  child.stdout.once('data', () => resolve())
  child.stdin.write('x') // What comes back has passed through the new namespace.
  try {
    await ready
    const map = ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join('')
    for (const file of ['uid_map', 'gid_map']) writeFileSync(`/proc/${child.pid}/${file}`, map)
    return task(child.pid ?? 0)
  } catch (error) {
    throw asKernelError(error, 'make a user namespace')
  } finally {
    clearTimeout(timer)
    child.stdin.end()
    child.kill('SIGKILL')
    await ended
  }
}

function refused(why: string): SlipwayError {
  return new SlipwayError('host.kernel-refused', `This host made no user namespace. ${why}`)
}

/**
 * As `makeNetns`, of a network namespace whose owner is a new user namespace with the ids from `firstId` on: whoever has
 * capabilities in that has them over this network, and nowhere else. It keeps the user namespace alive. Idempotent.
 */
export async function makeOwnedNetns(path: string, firstId: number, prepare: () => void): Promise<void> {
  if (isNetns(path)) return
  writeFileSync(path, '', { mode: 0o444, flag: 'a' })
  const ranges = [{ inside: 0, outside: firstId, count: IDS }]
  await withUserns(ranges, ['--net'], pid => mount(`/proc/${pid}/ns/net`, path, 'none', MS.BIND))
  inNetns(path, prepare)
}

/** The user namespace that owns a network namespace, for as long as it is not disposed of, by a path that any process may open. */
export function ownerOf(netns: string): { path: string } & Disposable {
  const fd = openSync(netns, 'r')
  try {
    const owner = ioctl(fd, NS_GET_USERNS, null, `find the owner of ${netns}`)
    return { path: `/proc/${process.pid}/fd/${owner}`, [Symbol.dispose]: () => closeSync(owner) }
  } finally {
    closeSync(fd)
  }
}

/** An id of files that nobody has: what the kernel's overlay makes for itself is of whoever mounted it. */
const NOBODYS_ID = 2 ** 32 - 2 ** 17

/**
 * Calls `task` with an open user namespace as mounts are mapped by: file ids from 0 on are seen as those from `firstId` on, and
 * root of the host, who works in an overlay's own folders, as somebody else.
 */
export async function withMapping<T>(firstId: number, task: (usernsFd: number) => T): Promise<T> {
  const ranges = [
    { inside: 0, outside: firstId, count: IDS },
    { inside: NOBODYS_ID, outside: 0, count: 1 },
  ]
  const fd = await withUserns(ranges, [], pid => openSync(`/proc/${pid}/ns/user`, 'r'))
  try {
    return task(fd)
  } finally {
    closeSync(fd)
  }
}
