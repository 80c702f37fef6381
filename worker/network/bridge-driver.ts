import { existsSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import type { Endpoint } from '#shared/domain/container.ts'
import type { PublishedPort } from '#shared/domain/port.ts'
import { makeNetns, prepareNetnsFolder, removeNetns } from '#worker/host/netns.ts'
import { run, runAny } from '#worker/host/run.ts'
import { attachmentFiles } from './attachments.ts'
import { refuseTakenPorts } from './host-ports.ts'
import { configureInside, makeVethPair, removeLink } from './links.ts'
import type { HostNetwork, NetworkDriver } from './network-driver.ts'
import { publishStatements, ruleset, unpublishStatements } from './ruleset.ts'

/** Where `ip netns` has them too, so that operators can look inside. */
const NETNS_FOLDER = '/run/netns'

export interface BridgeDriverOptions {
  instance: string
  runFolder: string
}

/** A bridge, a veth pair and a namespace a container, and one nftables table; driven through netlink and `nft`. */
export function bridgeDriver({ instance, runFolder }: BridgeDriverOptions): NetworkDriver {
  const bridge = `slw-${instance}`
  const table = `slipway_${instance}`
  const folder = join(runFolder, 'attachments')
  const attachments = attachmentFiles(folder)
  const netnsPath = (id: string) => join(NETNS_FOLDER, `slw-${id}`)
  const veth = (id: string) => `slw${id.slice(0, 12)}`
  const nft = (input: string) => run('nft', ['-f', '-'], { input })
  const hasTable = async () => (await runAny('nft', ['list', 'table', 'inet', table])).exitCode === 0

  const detach = async (id: string) => {
    const attached = await attachments.read(id)
    if (attached && attached.ports.length > 0 && (await hasTable())) {
      await nft(unpublishStatements(table, attached.endpoint.address, attached.ports))
    }
    if (existsSync(`/sys/class/net/${veth(id)}`)) await removeLink(veth(id))
    await removeNetns(netnsPath(id))
    await attachments.remove(id) // Last: until here it says whose the rest is.
  }
  const makeNamespace = async (id: string, endpoint: Endpoint) => {
    makeNetns(netnsPath(id), () => {})
    await makeVethPair({ name: veth(id), bridge, netns: netnsPath(id), mac: endpoint.mac })
    // Where br_netfilter is loaded (Docker does that), a container's way to its own published port ends at the bridge.
    writeFileSync(`/sys/class/net/${veth(id)}/brport/hairpin_mode`, '1')
    await configureInside(netnsPath(id), endpoint)
  }
  const publish = async ({ address }: Endpoint, ports: readonly PublishedPort[]) => {
    if (ports.length === 0) return
    await refuseTakenPorts(ports)
    await nft(publishStatements(table, address, ports))
  }

  return {
    ensureHost: async network => {
      prepareNetnsFolder(NETNS_FOLDER)
      const isWhole = networkInterfaces()[bridge]?.some(({ address }) => address === network.gateway)
      if (!isWhole) await makeBridge(bridge, network)
      if (await hasTable()) return
      const kept = await Promise.all((await attachments.ids()).map(attachments.read))
      const published = kept.map(item => (item ? publishStatements(table, item.endpoint.address, item.ports) : ''))
      await nft(ruleset(table, bridge, network) + published.join(''))
    },
    attach: async (id, endpoint, ports) => {
      if ((await attachments.read(id)) || existsSync(netnsPath(id))) await detach(id)
      await attachments.write(id, { endpoint, ports: [...ports] })
      const outcomes = await Promise.allSettled([makeNamespace(id, endpoint), publish(endpoint, ports)])
      const failure = outcomes.find(outcome => outcome.status === 'rejected')
      if (!failure) return { netns: netnsPath(id) }
      await detach(id)
      throw failure.reason
    },
    detach,
    isAttached: id => existsSync(netnsPath(id)) || existsSync(join(folder, id)),
    list: async () =>
      Promise.all(
        (await attachments.ids()).map(async id => {
          const path = existsSync(netnsPath(id)) ? netnsPath(id) : undefined
          const isWhole = path !== undefined && existsSync(`/sys/class/net/${veth(id)}`)
          return { id, netns: path, ports: (await attachments.read(id))?.ports ?? [], isWhole }
        }),
      ),
    removeHost: async () => {
      for (const id of await attachments.ids()) await detach(id)
      if (existsSync(`/sys/class/net/${bridge}`)) await run('ip', ['link', 'delete', bridge])
      if (await hasTable()) await nft(`delete table inet ${table}\n`)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function makeBridge(bridge: string, { gateway, prefixLength }: HostNetwork): Promise<void> {
  const isThere = existsSync(`/sys/class/net/${bridge}`) // Perhaps half made by a killed agent.
  const lines = [
    ...(isThere ? [] : [`link add ${bridge} type bridge`]),
    `address replace ${gateway}/${prefixLength} dev ${bridge}`,
    `link set ${bridge} up`,
  ]
  await run('ip', ['-batch', '-'], { input: lines.join('\n') })
  // Forwarding stays on when we go: others on this host may have come to rely on it.
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1')
  writeFileSync(`/proc/sys/net/ipv4/conf/${bridge}/route_localnet`, '1')
}
