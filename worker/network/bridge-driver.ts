import { existsSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Endpoint } from '#shared/domain/container.ts'
import { isId } from '#shared/domain/ids.ts'
import { isNetns, makeNetns, prepareNetnsFolder, removeNetns } from '#worker/host/netns.ts'
import { ensureSysctl } from '#worker/host/sysctl.ts'
import { type Attached, attachmentFiles } from './attachments.ts'
import { ensureBridge, portsOf } from './bridge.ts'
import { forgetFrom, forgetTo, forgetUdpPort } from './conntrack.ts'
import { forwarding } from './forwarding.ts'
import { hostFirewall } from './host-firewall.ts'
import { refuseTakenPorts } from './host-ports.ts'
import { configureInside, joinBridge, makeVethPair, removeLink } from './links.ts'
import type { HostNetwork, NetworkDriver } from './network-driver.ts'
import { openNft } from './nft.ts'
import { portTable } from './port-table.ts'
import { ruleset } from './ruleset.ts'
import { turns } from './turns.ts'

/** Where `ip netns` has them too, so that operators can look inside. */
const NETNS_FOLDER = '/run/netns'
/** The key of tasks that need our table as it is; no container is called so. */
const TABLE = 'table'

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
  const netnsName = (id: string) => `slw-${instance}-${id}`
  const netnsPath = (id: string) => join(NETNS_FOLDER, netnsName(id))
  const veth = (id: string) => `slw${id.slice(0, 12)}`
  const hasLink = (id: string) => existsSync(`/sys/class/net/${veth(id)}`)
  const hasRemains = (id: string) => [netnsPath(id), join(folder, id)].some(path => existsSync(path)) || hasLink(id)
  const nft = openNft()
  const ports = portTable(nft, table)
  const firewall = hostFirewall('iptables-nft', bridge, table)
  const legacyFirewall = hostFirewall('iptables-legacy', bridge, table)
  const forward = forwarding(runFolder)
  // What is done for one container never overlaps, nor what is done to the table.
  const inTurn = turns()

  const makeInterface = async (id: string, endpoint: Endpoint) => {
    await makeVethPair({ name: veth(id), bridge, netns: netnsPath(id), mac: endpoint.mac })
    await configureInside(netnsPath(id), endpoint)
  }
  const makeNamespace = async (id: string, endpoint: Endpoint) => {
    // Containers have IPv4 alone, so the kernel gives eth0 no address of its own making. Loopback keeps ::1.
    makeNetns(netnsPath(id), () => void ensureSysctl('net/ipv6/conf/default/disable_ipv6', '1'))
    await makeInterface(id, endpoint)
  }
  const publish = async (attached: Attached) => {
    if (attached.ports.length === 0) return
    await refuseTakenPorts(attached.ports)
    await inTurn(TABLE, () => ports.publish(attached))
    for (const { protocol, hostPort } of attached.ports) if (protocol === 'udp') await forgetUdpPort(hostPort)
  }
  /** Takes ports back, then what is left of their connections: before, a packet would begin another. */
  const withdraw = async (id: string, attached: Attached) => {
    if (attached.ports.length === 0) return
    await inTurn(TABLE, async () => {
      await ports.withdraw(attached)
      await attachments.write(id, { ...attached, ports: [] }) // Or a pass would publish them again.
    })
    await forgetTo(attached.endpoint.address)
  }
  const release = async (id: string) => {
    const attached = await attachments.read(id)
    if (hasLink(id)) await removeLink(veth(id))
    await Promise.all([
      removeNetns(netnsPath(id)),
      ...(attached ? [withdraw(id, attached), forgetFrom(attached.endpoint.address)] : []),
    ])
    await attachments.remove(id) // Last: until here it says whose the rest is.
  }
  const netnsIds = () =>
    (existsSync(NETNS_FOLDER) ? readdirSync(NETNS_FOLDER) : [])
      .filter(name => name.startsWith(netnsName('')))
      .map(name => name.slice(netnsName('').length))
      .filter(isId)
  const ids = async () => new Set([...(await attachments.ids()), ...netnsIds()])

  /** A container that runs gets back what somebody took: its link, or the link's place on the bridge. */
  const mend = async (id: string) => {
    const attached = await attachments.read(id)
    if (!attached || !isNetns(netnsPath(id)) || portsOf(bridge).includes(veth(id))) return
    if (hasLink(id)) await joinBridge(veth(id), bridge)
    else await makeInterface(id, attached.endpoint)
  }
  const ensureLinks = async () => {
    const present = portsOf(bridge)
    const owners = await ids()
    const known = new Set([...owners].map(veth))
    for (const link of present) if (link.startsWith('slw') && !known.has(link)) await removeLink(link)
    const lost = [...owners].filter(id => !present.includes(veth(id)))
    const outcomes = await Promise.allSettled(lost.map(id => inTurn(id, () => mend(id))))
    return outcomes.find(outcome => outcome.status === 'rejected')?.reason
  }
  const ensureTable = (network: HostNetwork) =>
    inTurn(TABLE, async () => {
      const rules = ruleset({ table, bridge, network, refusesOthers: forward.isOurs() })
      await nft.lookIfChanged(rules, async () => {
        const kept = await Promise.all((await attachments.ids()).map(attachments.read))
        await ports.ensure(
          rules,
          kept.filter(item => item !== undefined),
        )
        await firewall.ensure()
      })
      await legacyFirewall.ensure()
    })
  const pass = async (network: HostNetwork) => {
    prepareNetnsFolder(NETNS_FOLDER)
    await ensureBridge(bridge, network)
    const failure = await ensureLinks()
    await ensureTable(network)
    // After the table, which guards both.
    ensureSysctl(`net/ipv4/conf/${bridge}/route_localnet`, '1')
    forward.turnOn()
    if (failure) throw failure // One link that cannot be mended keeps nobody else from the network.
  }

  return {
    ensureHost: shared(pass),
    attach: (id, endpoint, published) =>
      inTurn(id, async () => {
        if (hasRemains(id)) await release(id)
        const attached = { endpoint, ports: [...published] }
        await attachments.write(id, attached)
        const outcomes = await Promise.allSettled([makeNamespace(id, endpoint), publish(attached)])
        const failure = outcomes.find(outcome => outcome.status === 'rejected')
        if (!failure) return { netns: netnsPath(id) }
        await release(id)
        throw failure.reason
      }),
    detach: id => inTurn(id, () => release(id)),
    isAttached: hasRemains,
    list: async () =>
      Promise.all(
        [...(await ids())].map(async id => ({
          id,
          netns: existsSync(netnsPath(id)) ? netnsPath(id) : undefined,
          ports: (await attachments.read(id))?.ports ?? [],
        })),
      ),
    removeHost: async () => {
      for (const id of await ids()) await inTurn(id, () => release(id))
      for (const link of portsOf(bridge)) if (link.startsWith('slw')) await removeLink(link)
      await removeLink(bridge)
      await inTurn(TABLE, async () => {
        await ports.remove()
        for (const item of [firewall, legacyFirewall]) await item.remove()
      })
      forward.putBack()
      await rm(folder, { recursive: true, force: true })
    },
  }
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
