import { readFile } from 'node:fs/promises'
import { SlipwayError } from '#shared/errors.ts'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { run, runAny } from '#worker/host/run.ts'

/**
 * Docker, ufw and others drop what the host forwards, in iptables' filter table; our own table cannot overrule a drop
 * elsewhere. There the bridge is accepted by two rules that bear our mark, since our table says what may reach it.
 * Through iptables, because its owners save and restore that table, and only iptables keeps a comment over that.
 */
export interface HostFirewall {
  /** The two rules where they are needed, once, and marked ones nowhere else. */
  ensure(): Promise<void>
  remove(): Promise<void>
}

/** The same commands, each with a table of its own in the kernel. */
export type IptablesTool = 'iptables-nft' | 'iptables-legacy'

export function hostFirewall(tool: IptablesTool, bridge: string, mark: string): HostFirewall {
  const change = (rule: string[]) => run(tool, ['-w', '5', ...rule])
  const removeFrom = async (rules: readonly string[]) => {
    for (const line of rules.filter(line => isMarked(line, mark))) await change(['-D', ...line.split(' ').slice(1)])
  }
  return {
    ensure: async () => {
      const rules = await listRules(tool)
      const chain = chainFor(rules, mark)
      const wanted = chain === undefined ? [] : ['-i', '-o'].map(side => rule(chain, side, bridge, mark))
      const present = rules.filter(line => isMarked(line, mark))
      if (present.length === wanted.length && wanted.every(line => present.includes(line))) return
      await removeFrom(rules)
      for (const line of wanted) await change(['-I', ...line.split(' ').slice(1)])
    },
    remove: async () => removeFrom(await listRules(tool)),
  }
}

/** As `iptables -S` prints it. */
const rule = (chain: string, side: string, bridge: string, mark: string) =>
  `-A ${chain} ${side} ${bridge} -m comment --comment ${mark} -j ACCEPT`

const isMarked = (line: string, mark: string) => line.includes(` --comment ${mark} `)

/** Where Docker asks others to put theirs, if it is in use; undefined where nothing is dropped. */
function chainFor(rules: readonly string[], mark: string): string | undefined {
  if (rules.includes('-A FORWARD -j DOCKER-USER')) return 'DOCKER-USER'
  const filters = (line: string) => line === '-P FORWARD DROP' || line.startsWith('-A FORWARD ')
  return rules.some(line => filters(line) && !isMarked(line, mark)) ? 'FORWARD' : undefined
}

/** None where the program is not installed: then nobody uses that table. */
async function listRules(tool: IptablesTool): Promise<string[]> {
  if (tool === 'iptables-legacy' && !(await isLegacyInUse())) return []
  try {
    return (await runAny(tool, ['-w', '5', '-S'])).stdout.split('\n')
  } catch (error) {
    if (error instanceof SlipwayError && errnoOf(error.cause) === 'ENOENT') return []
    throw error
  }
}

/** It must not be asked where it is not in use: asking would load it. */
async function isLegacyInUse(): Promise<boolean> {
  const names = await readFile('/proc/thread-self/net/ip_tables_names', 'utf8').catch(() => '')
  return names.split('\n').includes('filter')
}
