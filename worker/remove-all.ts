import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { isId } from '#shared/domain/ids.ts'
import { httpControlPlane } from './agent/http-control-plane.ts'
import { forgetExec, listExecContainers, listExecs } from './execute/exec-record.ts'
import { removeContainer } from './execute/remove-container.ts'
import { lockFolder } from './host/agent-lock.ts'
import { removeCgroups } from './host/cgroup.ts'
import { unmountOwn } from './host/own-mounts.ts'
import { removeAroundMounts } from './host/remove-around-mounts.ts'
import { openHost } from './main.host.ts'
import { observedIds } from './observe/container-facts.ts'
import { destroyZfsTrees } from './snapshot/zfs-trees.ts'

/** Removes everything of one instance from this machine, without any API: `npm run clean`. */

const environment = z
  .object({
    SLIPWAY_DATA: z.string().default('/var/lib/slipway/agent'),
    SLIPWAY_RUN: z.string().default('/run/slipway'),
    SLIPWAY_INSTANCE: z
      .string()
      .regex(/^[a-z0-9]{1,8}$/)
      .default('main'),
  })
  .parse(process.env)

const { SLIPWAY_DATA: dataFolder, SLIPWAY_RUN: runFolder, SLIPWAY_INSTANCE: instance } = environment
await lockFolder(dataFolder)
await lockFolder(`instance ${instance}`)
const nowhere = httpControlPlane('http://127.0.0.1:9', '')
for (const runtime of ['crun', 'runc'] as const) {
  const host = await openHost({ instance, dataFolder, runFolder, runtime, onTrouble: console.error }, nowhere)
  for (const containerId of await listExecContainers(host)) {
    for (const { id } of await listExecs(host, containerId)) await forgetExec(host, { containerId, execId: id })
  }
  for (const id of await observedIds(host)) {
    if (isId(id)) await removeContainer(host, id)
    else await host.snapshots.remove(id)
  }
  await host.network.removeHost()
}
await removeCgroups(instance, runFolder)
await unmountOwn(dataFolder)
await destroyZfsTrees(join(dataFolder, 'zfs'))
await removeAroundMounts(dataFolder)
await rm(runFolder, { recursive: true, force: true })
