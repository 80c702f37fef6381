import { describeNetwork } from './network-driver.contract.ts'

describeNetwork('bridge and nftables', (host, runFolder) => host.openDriver('tnet', runFolder))
