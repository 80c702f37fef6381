import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ContainerId, newId } from '#shared/domain/ids.ts'
import type { SharedWork } from './build-work.ts'

const IN_NETWORK = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'

/** A network of a build's own, there until it is disposed of. */
export interface BuildNetwork extends AsyncDisposable {
  /** Leads a program of the host into it: to be written before that. */
  enter: readonly string[]
}

/**
 * A network as a RUN step has one: what a Dockerfile names is reached as from its own containers, and never from the host's
 * loopback. `folder` is the build's own.
 */
export async function openBuildNetwork(work: SharedWork, folder: string): Promise<BuildNetwork> {
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
  const enter = ['nsenter', `--net=${netns}`, 'unshare', '--mount', 'sh', '-ec', IN_NETWORK, 'sh', resolvers]
  const opened = undo.move()
  return { enter, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}
