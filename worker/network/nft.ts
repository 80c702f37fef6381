import { NETLINK, type NetlinkMessage, NetlinkSocket } from '#worker/host/netlink.ts'
import { run, runAny } from '#worker/host/run.ts'

/** linux/netfilter/nf_tables.h */
const GETGEN: NetlinkMessage = {
  ...{ type: (10 << 8) | 16, flags: 0, body: Buffer.alloc(4), doing: 'tell the generation of its nftables' },
}
/** struct nfgenmsg and the header of NFTA_GEN_ID come before it. */
const GENERATION_AT = 8

export interface Nft {
  /** One transaction: all of it or nothing. */
  change(statements: string): Promise<void>
  /** A table with all it has; one that is not there is no error. */
  remove(family: string, table: string): Promise<void>
  /** Undefined when there is no such table. */
  list(family: string, table: string): Promise<string | undefined>
  /**
   * Runs `look`, which answers whether all went well, unless one with the same `purpose` went well before and nothing but `change` changed any table since.
   * The kernel counts transactions, so a look that is not needed costs microseconds in place of a run of `nft`.
   */
  lookIfChanged(purpose: string, look: () => Promise<boolean>): Promise<void>
}

/** Not for two tasks at a time: the count of our own transactions would be wrong. */
export function openNft(): Nft {
  let expected = -1
  let lookedFor = ''
  const change = async (statements: string) => {
    if (statements === '') return
    await run('nft', ['-f', '-'], { input: statements })
    expected++
  }
  return {
    change,
    remove: async (family, table) => {
      lookedFor = ''
      // Added first, since deleting needs one.
      await change(`add table ${family} ${table}\ndelete table ${family} ${table}\n`)
    },
    list: async (family, table) => {
      const { exitCode, stdout } = await runAny('nft', ['list', 'table', family, table])
      return exitCode === 0 ? stdout : undefined
    },
    lookIfChanged: async (purpose, look) => {
      const generation = await readGeneration()
      if (lookedFor === purpose && generation === expected) return
      lookedFor = ''
      expected = generation
      if (await look()) lookedFor = purpose
    },
  }
}

async function readGeneration(): Promise<number> {
  using socket = new NetlinkSocket(NETLINK.NETFILTER)
  return (await socket.ask(GETGEN)).readUInt32BE(GENERATION_AT)
}
