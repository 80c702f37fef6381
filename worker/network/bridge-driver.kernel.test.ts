import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { afterAll, expect } from 'vitest'
import { bridgeDriver } from './bridge-driver.ts'
import { describeNetwork } from './network-driver.contract.ts'

afterAll(() => {
  expect(existsSync('/sys/class/net/slw-tnet')).toBe(false)
  expect(execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' })).not.toContain('slipway_tnet')
})

describeNetwork('bridge and nftables', runFolder => bridgeDriver({ instance: 'tnet', runFolder }))
