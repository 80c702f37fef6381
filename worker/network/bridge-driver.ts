import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { prepareNetnsFolder } from '#worker/host/netns.ts'
import { ensureSysctl } from '#worker/host/sysctl.ts'
import { type Turns, turns } from '#worker/host/turns.ts'
import { type Attachments, attachmentFiles } from './attachments.ts'
import { ensureBridge } from './bridge.ts'
import { forgetFrom } from './conntrack.ts'
import { type Forwarding, forwarding } from './forwarding.ts'
import { type Interfaces, interfaces } from './interfaces.ts'
import { removeLink } from './links.ts'
import { type Names, NETNS_FOLDER, namesOf } from './names.ts'
import type { BuildReach, HostNetwork, NetworkDriver } from './network-driver.ts'
import { type Publisher, publisher } from './publisher.ts'
import { tolerate } from './tolerate.ts'

export interface BridgeDriverOptions {
  instance: string
  runFolder: string
  /** Left out: private networks, too. */
  buildReach?: BuildReach
}

interface Parts {
  names: Names
  attachments: Attachments
  links: Interfaces
  ports: Publisher
  forward: Forwarding
  /** What is done for one container never overlaps. */
  inTurn: Turns
}

/** A bridge, a veth pair and a namespace a container, and one nftables table; driven through netlink and `nft`. */
export function bridgeDriver({ instance, runFolder, buildReach = 'private' }: BridgeDriverOptions): NetworkDriver {
  const names = namesOf(instance, runFolder)
  const attachments = attachmentFiles(names.attachmentsFolder)
  const links = interfaces(names)
  const ports = publisher(names, attachments, buildReach)
  const parts = { names, attachments, links, ports, forward: forwarding(runFolder), inTurn: turns() }
  const { inTurn } = parts
  return {
    ensureHost: shared(network => ensureHost(parts, network)),
    attach: (id, endpoint, published, firstId) =>
      inTurn(id, async () => {
        if (hasRemains(parts, id)) await release(parts, id)
        const attached = { endpoint, ports: [...published] }
        await attachments.write(id, attached)
        try {
          await together(links.make(id, endpoint, firstId), ports.publish(attached))
        } catch (error) {
          await release(parts, id)
          throw error
        }
        return { netns: names.netns(id) }
      }),
    detach: id => inTurn(id, () => release(parts, id)),
    isAttached: id => hasRemains(parts, id),
    list: async () => Promise.all([...(await owners(parts))].map(id => describe(parts, id))),
    removeHost: () => removeHost(parts),
  }
}

async function ensureHost(parts: Parts, network: HostNetwork): Promise<void> {
  const { names, links, ports, forward } = parts
  prepareNetnsFolder(NETNS_FOLDER)
  await ensureBridge(names.bridge, network)
  await links.sweep(() => owners(parts))
  await mendLinks(parts)
  await ports.ensure(network, forward.isOurs())
  // After the table, which guards both.
  ensureSysctl(`net/ipv4/conf/${names.bridge}/route_localnet`, '1')
  forward.turnOn()
}

async function mendLinks(parts: Parts): Promise<void> {
  const { links, attachments, inTurn } = parts
  const mend = async (id: string) => {
    const attached = await attachments.read(id)
    if (attached) await links.mend(id, attached.endpoint)
  }
  const lost = links.lost(await owners(parts))
  await Promise.all(lost.map(id => tolerate(`mend the link of container ${id}`, () => inTurn(id, () => mend(id)))))
}

async function release({ attachments, links, ports }: Parts, id: string): Promise<void> {
  const attached = await attachments.read(id)
  await links.removeLink(id) // First: from here on no packet begins a connection of it.
  await together(
    links.removeNamespace(id),
    ...(attached ? [ports.withdraw(id, attached), forgetFrom(attached.endpoint.address)] : []),
  )
  await attachments.remove(id) // Last: until here it says whose the rest is.
}

async function removeHost(parts: Parts): Promise<void> {
  const { names, links, ports, forward, inTurn } = parts
  for (const id of await owners(parts)) await inTurn(id, () => release(parts, id))
  await links.sweep(async () => new Set())
  await removeLink(names.bridge)
  await ports.remove()
  forward.putBack()
  await rm(names.attachmentsFolder, { recursive: true, force: true })
}

const owners = async ({ attachments, links }: Parts) => new Set([...(await attachments.ids()), ...links.ids()])

const hasRemains = ({ names, links }: Parts, id: string) =>
  links.isThere(id) || existsSync(join(names.attachmentsFolder, id))

async function describe({ names, attachments }: Parts, id: string) {
  const netns = existsSync(names.netns(id)) ? names.netns(id) : undefined
  return { id, netns, ports: (await attachments.read(id))?.ports ?? [] }
}

/** Waits for every task, also when one has failed: none goes on when its container's turn is over. */
async function together(...tasks: Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(tasks)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

/** Callers with the same wish while a pass runs wait for that one; others come after it. */
function shared(pass: (network: HostNetwork) => Promise<void>): (network: HostNetwork) => Promise<void> {
  const running = new Map<string, Promise<void>>()
  const inTurn = turns()
  return network => {
    const key = JSON.stringify(network)
    const present = running.get(key)
    if (present) return present
    const begun = inTurn('pass', () => pass(network)).finally(() => running.delete(key))
    running.set(key, begun)
    return begun
  }
}
