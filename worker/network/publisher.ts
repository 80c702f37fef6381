import { turns } from '#worker/host/turns.ts'
import type { Attached, Attachments } from './attachments.ts'
import { forgetTo, forgetUdpPorts } from './conntrack.ts'
import { hostFirewall } from './host-firewall.ts'
import { refuseTakenPorts } from './host-ports.ts'
import type { Names } from './names.ts'
import type { BuildReach, HostNetwork } from './network-driver.ts'
import { openNft } from './nft.ts'
import { portTable } from './port-table.ts'
import { ruleset } from './ruleset.ts'
import { tolerate } from './tolerate.ts'

/** Published ports and the rules around them: our table, and what other firewalls need to let it work. */
export interface Publisher {
  /** All as it should be, with the ports of every attachment and no other. */
  ensure(network: HostNetwork, refusesOthers: boolean): Promise<void>
  publish(attached: Attached): Promise<void>
  withdraw(id: string, attached: Attached): Promise<void>
  remove(): Promise<void>
}

export function publisher({ table, bridge }: Names, attachments: Attachments, buildReach: BuildReach): Publisher {
  const nft = openNft()
  const ports = portTable(nft, table)
  const firewall = hostFirewall('iptables-nft', bridge, table)
  const legacyFirewall = hostFirewall('iptables-legacy', bridge, table)
  const turn = turns()
  const inTurn = (task: () => Promise<void>) => turn(table, task)
  const kept = async () => {
    const all = await Promise.all((await attachments.ids()).map(attachments.read))
    return all.filter(item => item !== undefined)
  }
  return {
    ensure: (network, refusesOthers) =>
      inTurn(async () => {
        const rules = ruleset({ table, bridge, network, refusesOthers, buildReach })
        await nft.lookIfChanged(rules, async () => {
          await ports.ensure(rules, await kept())
          return tolerate('be accepted by the firewall of iptables', firewall.ensure)
        })
        await tolerate('be accepted by the firewall of iptables-legacy', legacyFirewall.ensure) // The kernel counts no changes of that one.
      }),
    publish: async attached => {
      if (attached.ports.length === 0) return
      await refuseTakenPorts(attached.ports)
      await inTurn(() => ports.publish(attached))
      const udp = attached.ports.filter(({ protocol }) => protocol === 'udp')
      await forgetUdpPorts(udp.map(({ hostPort }) => hostPort))
    },
    withdraw: async (id, attached) => {
      if (attached.ports.length === 0) return
      await inTurn(async () => {
        await ports.withdraw(attached)
        await attachments.write(id, { ...attached, ports: [] }) // Or a pass would publish them again.
      })
      await forgetTo(attached.endpoint.address) // After: until then, each packet would begin another connection.
    },
    remove: () =>
      inTurn(async () => {
        await ports.remove()
        for (const item of [firewall, legacyFirewall]) await item.remove()
      }),
  }
}
