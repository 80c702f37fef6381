import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ContainerId, newId } from '#shared/domain/ids.ts'
import { type RunOptions, type RunResult, runAny } from '../host/run.ts'
import type { SharedWork } from './build-work.ts'

const IN_NETWORK = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'

/**
 * Runs a program of the host in a network of its own, as a RUN step has one: what a Dockerfile names is reached as from its
 * own containers, and never from the host's loopback.
 */
export async function runInBuildNetwork(
  work: SharedWork,
  folder: string,
  program: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  const { ports, owned } = work
  const id = newId<ContainerId>(work.random)
  await using undo = new AsyncDisposableStack()
  const { endpoint } = undo.use(await work.endpoints.take(work.signal))
  owned.add(id)
  undo.defer(() => void owned.delete(id))
  undo.defer(() => ports.network.detach(id))
  const { netns } = await ports.network.attach(id, endpoint, [])
  const resolvers = join(folder, 'resolv.conf')
  await writeFile(resolvers, await ports.readResolvConf(), { mode: 0o644 })
  const around = [`--net=${netns}`, 'unshare', '--mount', 'sh', '-ec', IN_NETWORK, 'sh', resolvers]
  return await runAny('nsenter', [...around, ...program], options)
}
