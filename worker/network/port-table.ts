import type { Attached } from './attachments.ts'
import type { Nft } from './nft.ts'
import {
  elementStatements,
  listedElements,
  type PortElement,
  portElement,
  sameElement,
  withoutElements,
} from './ruleset.ts'

/** Our table in the kernel. One task at a time. */
export interface PortTable {
  /** The rules as `rules` says, and the ports of `attached` and no other, in one transaction. */
  ensure(rules: string, attached: readonly Attached[]): Promise<void>
  publish(attached: Attached): Promise<void>
  withdraw(attached: Attached): Promise<void>
  remove(): Promise<void>
}

export function portTable(nft: Nft, table: string): PortTable {
  let written = { rules: '', listed: '' }
  const list = async () => (await nft.list('inet', table)) ?? ''

  const rewrite = async (rules: string, elements: PortElement[]) => {
    // In one transaction no packet meets a table that is half there. Added first, since deleting needs one.
    const statements = `add table inet ${table}\ndelete table inet ${table}\n${rules}`
    await nft.change(statements + elementStatements('add', table, elements))
    written = { rules, listed: withoutElements(await list()) }
  }
  const mendElements = async (present: PortElement[], wanted: PortElement[]) => {
    const notIn = (those: PortElement[]) => (item: PortElement) => !those.some(other => sameElement(item, other))
    const orphans = elementStatements('delete', table, present.filter(notIn(wanted)))
    await nft.change(orphans + elementStatements('add', table, wanted.filter(notIn(present))))
  }

  return {
    ensure: async (rules, attached) => {
      const wanted = onePerKey(attached.flatMap(elementsOf))
      const present = await list()
      // An agent's first look finds nothing written by itself: so an upgrade's rules hold at once.
      const isOurs = written.rules === rules && written.listed === withoutElements(present)
      if (isOurs) await mendElements(listedElements(present), wanted)
      else await rewrite(rules, wanted)
    },
    publish: attached => nft.change(elementStatements('add', table, elementsOf(attached))),
    withdraw: async attached => {
      const present = listedElements(await list())
      const ours = elementsOf(attached).filter(item => present.some(other => sameElement(item, other)))
      await nft.change(elementStatements('delete', table, ours))
    },
    remove: () => nft.remove('inet', table),
  }
}

const elementsOf = ({ endpoint, ports }: Attached) => ports.map(port => portElement(endpoint.address, port))

/** A port that a dead container has not given back yet must not keep all others from being published. */
function onePerKey(elements: PortElement[]): PortElement[] {
  return [...new Map(elements.map(item => [`${item.map} ${item.key}`, item])).values()]
}
